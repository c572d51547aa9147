"""A real libvirt, which takes our agent for qemu-ga: each verb of virsh, and what it does in the guest."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import statistics
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.libvirt import Domain, Libvirt
from tests.hub.hosts import OtherHost, write_ssh_config
from tests.support import SOURCE, wait_for
from tools.guest import AGENT_PORT, AGENT_RUNS, agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    """A domain of libvirt whose agent is ours."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Libvirt() as libvirt, Domain(libvirt, "web1", files=files, ports=(AGENT_PORT,)) as domain:
        domain.run(AGENT_RUNS, timeout=600)
        wait_for(lambda: "state='connected'" in domain.virsh("dumpxml"))
        yield domain


def agent(domain: Domain, command: str) -> object:
    return json.loads(domain.virsh("qemu-agent-command", f'{{"execute": "{command}"}}'))["return"]


def wait_until_parked(domain: Domain) -> None:
    command = "readlink /proc/$(systemctl show -P MainPID phoenix-ga)/exe"
    deadline = time.monotonic() + 60
    while "phoenix-wait" not in domain.run(command).text:
        assert time.monotonic() < deadline, "the agent does not park"
        time.sleep(0.2)


def test_a_parked_agent_answers_whatever_comes_first(domain: Domain) -> None:
    """In this and the following tests, the agent parks whenever it has nothing to do for a second."""
    domain.run("printf '[general]\\npark-after = 1\\n' > /etc/phoenix-ga.conf; systemctl reload phoenix-ga")
    wait_until_parked(domain)
    assert agent(domain, "guest-ping") == {}
    wait_until_parked(domain)
    assert "Froze 1 filesystem" in domain.virsh("domfsfreeze")
    assert "Thawed 1 filesystem" in domain.virsh("domfsthaw")
    wait_until_parked(domain)
    assert "os.id" in domain.virsh("guestinfo")


def test_any_command_goes_through(domain: Domain) -> None:
    assert agent(domain, "guest-ping") == {}
    assert "has not been found" in domain.virsh("qemu-agent-command", '{"execute": "guest-x"}', check=False)


def test_the_addresses_and_the_name_are_told(domain: Domain) -> None:
    domain.run("ip addr add 198.51.100.9/24 dev eth0; ip link set eth0 up")
    addresses = domain.virsh("domifaddr", "--source", "agent")
    assert re.search(r"eth0\s+\S+\s+ipv4\s+198\.51\.100\.9/24", addresses)
    assert domain.virsh("domhostname", "--source", "agent") == domain.run("hostname").text


def test_the_guest_is_described_in_all_its_parts(domain: Domain) -> None:
    text = domain.virsh("guestinfo")
    assert f"os.kernel-release                   : {domain.run('uname -r').text}"[-20:] in text
    for word in ("os.id", "timezone.name", "hostname", "fs.count", "if.count", "disk.count"):
        assert word in text, text
    for part in ("--os", "--timezone", "--hostname", "--filesystem", "--interface", "--user", "--disk"):
        domain.virsh("guestinfo", part)


def test_the_filesystems_are_told_with_their_disks(domain: Domain) -> None:
    text = domain.virsh("domfsinfo")
    assert re.search(r"^ /\s+vda\s+ext4\s+vda", text, re.MULTILINE), text


@pytest.mark.parametrize("mountpoint", [(), ("--mountpoint", "/")], ids=["all", "one"])
def test_freezing_holds_writes_until_it_thaws(domain: Domain, mountpoint: tuple[str, ...]) -> None:
    assert "Froze 1 filesystem" in domain.virsh("domfsfreeze", *mountpoint)
    assert agent(domain, "guest-fsfreeze-status") == "frozen"
    domain.run("(echo x > /root/written; sync; echo done > /run/done) > /dev/null 2>&1 & sleep 0.5; true")
    assert domain.run("ls /run/done").status != 0
    # It thaws all, for libvirt knows no other way.
    assert "Thawed 1 filesystem" in domain.virsh("domfsthaw")
    wait_for(lambda: domain.run("rm /run/done").status == 0)
    assert "Thawed 0 filesystem" in domain.virsh("domfsthaw")


def test_trimming_is_asked_for(domain: Domain) -> None:
    domain.virsh("domfstrim")


def test_the_time_is_told_and_set(domain: Domain) -> None:
    assert abs(int(domain.virsh("domtime").split()[-1]) - int(domain.run("date +%s").text)) < 20
    domain.run("date -s @1900000000")
    domain.virsh("domtime", "--now")
    assert abs(int(domain.run("date +%s").text) - time.time()) < 60
    domain.virsh("domtime", "--time", 2_000_000_000)
    assert abs(int(domain.run("date +%s").text) - 2_000_000_000) < 60
    domain.run("date -s @1900000000")
    domain.virsh("domtime", "--sync")
    assert abs(int(domain.run("date +%s").text) - 2_000_000_000) < 90
    domain.virsh("domtime", "--now")


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_password_is_set(domain: Domain, encrypted: bool) -> None:
    before = domain.run("grep ^root: /etc/shadow").text
    word = "$6$salt$" + base64.b64encode(b"x" * 63).decode().rstrip("=") if encrypted else "secret"
    domain.virsh("set-user-password", "root", word, *(["--encrypted"] if encrypted else []))
    after = domain.run("grep ^root: /etc/shadow").text
    assert after != before
    assert (word in after) == encrypted


def test_keys_are_added_removed_and_reset(domain: Domain, tmp_path: Path) -> None:
    first, second = "ssh-ed25519 AAAAC3first one@example.org", "ssh-ed25519 AAAAC3second two@example.org"
    (tmp_path / "first").write_text(first + "\n")
    (tmp_path / "second").write_text(second + "\n")
    domain.run("rm -rf /root/.ssh")
    domain.virsh("set-user-sshkeys", "root", tmp_path / "first")
    domain.virsh("set-user-sshkeys", "root", tmp_path / "second")
    assert domain.run("cat /root/.ssh/authorized_keys").text.splitlines() == [first, second]
    # virsh prints them without anything between.
    assert set(re.findall(r"ssh-ed25519 \S+ \w+@example.org", domain.virsh("get-user-sshkeys", "root"))) == {
        first,
        second,
    }
    domain.virsh("set-user-sshkeys", "root", "--remove", tmp_path / "first")
    assert domain.run("cat /root/.ssh/authorized_keys; stat -c %a /root/.ssh").text.splitlines() == [second, "700"]
    domain.virsh("set-user-sshkeys", "root", "--reset", tmp_path / "first")
    assert domain.virsh("get-user-sshkeys", "root") == first


def test_processors_are_counted_and_set(domain: Domain) -> None:
    domain.virsh("setvcpus", 2)
    wait_for(lambda: domain.run("ls -d /sys/devices/system/cpu/cpu1").status == 0)
    domain.virsh("setvcpus", "--guest", 2)
    assert domain.run("nproc").text == "2"
    assert re.search(r"online\s*: 0-1", domain.virsh("guestvcpus"))
    domain.virsh("setvcpus", "--guest", 1)
    assert domain.run("nproc").text == "1"


class Channel:
    """phoenixctl on the agent's channel, run by Debian's Python, whose libvirt-python it uses."""

    def __init__(self, domain: Domain, endpoint: str = "") -> None:
        self.endpoint = endpoint or f"libvirt:{domain.libvirt.uri}/{domain.name}"
        self._environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{sysconfig.get_path('purelib')}"}

    def start(self, *words: str, force: bool = False) -> subprocess.Popen[str]:
        endpoint = self.endpoint.replace("libvirt:", "libvirt-force:") if force else self.endpoint
        return subprocess.Popen(
            ["/usr/bin/python3", "-m", "phoenix_ga.cli", *(word.replace("GUEST", endpoint) for word in words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def python(self, program: str, *words: str) -> str:
        """Return what a program in Python prints."""
        command = ["/usr/bin/python3", "-c", program, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *words: str, force: bool = False) -> tuple[int, str]:
        """Return the exit status, and what was printed."""
        process = self.start(*words, force=force)
        output, error = process.communicate(timeout=300)
        return process.returncode, output + error


class RemoteHost:
    """The domain's host as a remote one, by an sshd that finds its libvirt in the usual places.

    Attributes:
        channel: the agent's channel over libvirt's own ssh transport.
        socat: the same port over ssh and socat.
    """

    def __init__(self, domain: Domain, directory: Path) -> None:
        configuration = write_ssh_config(directory)
        namespace = ("nsenter", "-t", str(domain.libvirt.pid), "-m")
        self.host = OtherHost(directory, "vh1", {}, wrapper=namespace)
        ssh = directory / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec ssh -F {configuration} "$@"\n')
        ssh.chmod(0o755)
        uri = f"qemu+ssh://{self.host.destination}/system?command={ssh}"
        self.channel = Channel(domain, f"libvirt:{uri}/{domain.name}")
        command = f"ssh -F {configuration} -p {self.host.port} root@{self.host.address}"
        self.socat = Channel(domain, f"exec:{command} socat - UNIX-CONNECT:{domain.socket(AGENT_PORT)}")


@pytest.fixture
def remote(domain: Domain, tmp_path: Path) -> Iterator[RemoteHost]:
    remote = RemoteHost(domain, tmp_path)
    try:
        remote.host.wait_until_it_listens()
        yield remote
    finally:
        remote.host.stop()


@pytest.mark.programs("sshd", "ssh", "ssh-keygen", "socat")
def test_the_channel_of_a_remote_libvirt_is_used_over_its_ssh_transport(remote: RemoteHost, tmp_path: Path) -> None:
    use(remote.channel, tmp_path)


# Prints how many seconds it takes to copy a file to the guest, and back.
_COPY = """
import asyncio, sys, time
from phoenix_ga.client import connect
async def main(endpoint, path):
    async with connect(endpoint) as guest:
        times = [time.monotonic()]
        await guest.put(path, "/run/copied", verify="none")
        times.append(time.monotonic())
        await guest.get("/run/copied", path + ".back", verify="none")
        times.append(time.monotonic())
    print(times[1] - times[0], times[2] - times[1])
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.soak
@pytest.mark.programs("sshd", "ssh", "ssh-keygen", "socat")
def test_the_throughput_over_libvirt_and_over_socat(
    remote: RemoteHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 40_000_000
    path = tmp_path / "there"
    path.write_bytes(os.urandom(size))
    speeds: dict[str, list[list[float]]] = {"libvirt": [], "socat": []}
    for _ in range(5):
        for name, channel in (("libvirt", remote.channel), ("socat", remote.socat)):
            seconds = map(float, channel.python(_COPY, channel.endpoint, str(path)).split())
            speeds[name].append([size / each / 1e6 for each in seconds])
            assert Path(f"{path}.back").read_bytes() == path.read_bytes()
    with capsys.disabled():
        for way, index in (("to", 0), ("from", 1)):
            libvirt, socat = (
                statistics.median(each[index] for each in speeds[name]) for name in ("libvirt", "socat")
            )
            print(f"\n{way} the guest: {libvirt:.1f} MB/s over libvirt, {libvirt / socat:.2f} of socat's", end="")


def test_the_agents_channel_is_used_over_libvirt(domain: Domain, tmp_path: Path) -> None:
    use(Channel(domain), tmp_path)
    # Its own channel is still libvirt's.
    assert agent(domain, "guest-ping") == {}


def use(channel: Channel, tmp_path: Path) -> None:
    status, output = channel.run("ping", "-c", "3", "GUEST")
    assert status == 0, output
    assert channel.run("exec", "GUEST", "--", "sh", "-c", "echo hello; exit 7") == (7, "hello\n")
    content = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(content)
    assert channel.run("cp", str(tmp_path / "there"), "GUEST:/run/copied")[0] == 0
    assert channel.run("cp", "GUEST:/run/copied", str(tmp_path / "back"))[0] == 0
    assert (tmp_path / "back").read_bytes() == content


def test_a_channel_is_taken_from_another_client_only_if_that_is_wanted(domain: Domain) -> None:
    channel = Channel(domain)
    holder = channel.start("exec", "-i", "GUEST", "--", "sh", "-c", "echo ready; cat")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    status, output = channel.run("ping", "-c", "1", "GUEST")
    assert (status, "another client uses the channel; to take it: libvirt-force:" in output) == (125, True), output
    assert channel.run("ping", "-c", "1", "GUEST", force=True)[0] == 0
    assert holder.wait(60) != 0
    holder.communicate()


def test_what_libvirt_lacks_is_told(domain: Domain) -> None:
    channel = Channel(domain)
    channel.endpoint += "x"
    assert "Domain not found" in channel.run("ping", "-c", "1", "GUEST")[1]
    channel.endpoint = "libvirt:qemu+unix:///system?socket=/nonexistent/socket/web1"
    assert "/nonexistent/socket" in channel.run("ping", "-c", "1", "GUEST")[1]


@pytest.mark.soak
def test_a_guest_that_stalls_for_a_minute_does_not_lose_the_link(domain: Domain) -> None:
    content = os.urandom(15_000_000).hex()
    words = ("exec", "-i", "GUEST", "--", "sh", "-c", "echo ready; exec sha256sum")
    program = Channel(domain).start("--timeout", "180", *words)
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    domain.virsh("suspend")
    # More than all windows and buffers hold: most of it waits.
    sending = threading.Thread(target=program.stdin.write, args=(content,))
    sending.start()
    time.sleep(60)
    assert sending.is_alive()
    domain.virsh("resume")
    sending.join()
    output, error = program.communicate(timeout=300)
    assert error == ""
    assert output.split()[0] == hashlib.sha256(content.encode()).hexdigest()


PLAYBOOK = """
- hosts: web1
  gather_facts: false
  tasks:
    - copy: {src: hello.txt, dest: /root/by-ansible.txt, mode: "0640"}
    - template: {src: greeting.j2, dest: /root/by-template.txt}
    - command: cat /root/by-ansible.txt /root/by-template.txt
      register: shown
    - assert: {that: "shown.stdout == 'hello\\nThis is web1.'"}
"""


def test_ansible_runs_a_playbook_over_its_libvirt_connection(domain: Domain, tmp_path: Path) -> None:
    wait_until_parked(domain)
    (tmp_path / "hello.txt").write_text("hello\n")
    (tmp_path / "greeting.j2").write_text("This is {{ inventory_hostname }}.\n")
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    variables = {
        "ansible_connection": "community.libvirt.libvirt_qemu",
        "ansible_libvirt_uri": domain.libvirt.uri,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    # Debian's own Ansible, which has the plugin and libvirt's library.
    command = ["/usr/bin/ansible-playbook", "-i", "web1,", "-e", json.dumps(variables), "playbook.yml"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    report = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert report.returncode == 0, report.stdout + report.stderr
    assert domain.run("stat -c %a /root/by-ansible.txt").text == "640"


def test_a_snapshot_is_quiesced(domain: Domain) -> None:
    domain.run("echo before > /root/before-snapshot")
    domain.virsh("snapshot-create-as", "--disk-only", "--quiesce", "--no-metadata", "--diskspec", "vdb,snapshot=no")
    assert agent(domain, "guest-fsfreeze-status") == "thawed"


def test_reboot_and_shutdown_by_the_agent(domain: Domain) -> None:
    boot = domain.run("cat /proc/sys/kernel/random/boot_id").text
    domain.virsh("reboot", "--mode", "agent")
    domain.wait_ready()
    assert domain.run("cat /proc/sys/kernel/random/boot_id").text != boot
    # Not the other port, which libvirt shows as connected too.
    wait_for(lambda: "return" in domain.virsh("qemu-agent-command", '{"execute": "guest-ping"}', check=False))
    domain.virsh("shutdown", "--mode", "agent")
    wait_for(lambda: domain.virsh("domstate") == "shut off")
