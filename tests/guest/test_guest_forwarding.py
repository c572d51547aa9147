"""A guest without any network device, reached by programs that know nothing of the agent."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.machine import Machine
from tests.support import SOURCE
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(900),
    pytest.mark.programs("curl", "git", "rsync", "ssh", "ssh-keygen"),
]


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with the agent on its port, sshd on its loopback, and no network device."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with Machine(files=files) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        assert machine.run("ls /sys/class/net").text == "lo"
        machine.run("mkdir -p /run/sshd /root/.ssh && ssh-keygen -A && /usr/sbin/sshd -o ListenAddress=127.0.0.1")
        yield machine


class Host:
    """What a user types on the host. endpoint: of the guest."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.directory = directory
        self.endpoint = endpoint
        self.environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": str(directory)}

    def phoenixctl(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "phoenix_ga.cli", *map(str, words)]

    def run(self, *words: object, input: bytes = b"", cwd: Path | None = None) -> str:
        """Run a program to its end, and return what it wrote; fail where it fails."""
        result = subprocess.run(
            list(map(str, words)), input=input, capture_output=True, env=self.environment, timeout=240, cwd=cwd
        )
        assert result.returncode == 0, (words, result.stdout[-2000:], result.stderr[-2000:])
        return result.stdout.decode()

    def ssh_options(self) -> list[str]:
        return ["-F", str(self.directory / "config")]


@pytest.fixture(scope="module")
def host(lonely: Machine, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host whose user may log in to the guest, by the recipe of the documentation."""
    host = Host(tmp_path_factory.mktemp("home"), f"unix:{lonely.socket(AGENT_PORT)}")
    key = host.directory / "key"
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    public = key.with_suffix(".pub").read_bytes()
    host.run(*host.phoenixctl("tee", "-m", "600", f"{host.endpoint}:/root/.ssh/authorized_keys"), input=public)
    config = host.run(*host.phoenixctl("ssh-config", "-u", "root", f"vm={host.endpoint}"))
    config += f"Host *\n    IdentityFile {key}\n    StrictHostKeyChecking accept-new\n"
    config += f"    UserKnownHostsFile {host.directory}/known_hosts\n    LogLevel ERROR\n"
    (host.directory / "config").write_text(config)
    return host


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 files in 20 directories."""
    top = tmp_path_factory.mktemp("tree") / "tree"
    chance = random.Random(1)
    for number in range(500):
        path = top / f"directory {number % 20}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(3000)))
    return top


def assert_same_tree(one: Path, two: Path) -> None:
    difference = subprocess.run(["diff", "-r", one, two], capture_output=True, text=True)
    assert (difference.returncode, difference.stdout) == (0, "")


def test_ssh_gives_an_interactive_session(host: Host) -> None:
    typed = b"tty; echo answer $((6 * 7)); exit 5\n"
    command = ["ssh", *host.ssh_options(), "-tt", "vm.phoenix"]
    session = subprocess.run(command, input=typed, capture_output=True, env=host.environment, timeout=120)
    assert b"/dev/pts/" in session.stdout
    assert b"answer 42" in session.stdout
    assert session.returncode == 5


def test_scp_and_rsync_copy_a_tree_both_ways(host: Host, tree: Path, tmp_path: Path) -> None:
    host.run("scp", *host.ssh_options(), "-q", "-r", tree, "vm.phoenix:/root/by-scp")
    host.run("scp", *host.ssh_options(), "-q", "-r", "vm.phoenix:/root/by-scp", tmp_path / "scp")
    assert_same_tree(tree, tmp_path / "scp")
    shell = " ".join(["ssh", *host.ssh_options()])
    host.run("rsync", "-a", "-e", shell, f"{tree}/", "vm.phoenix:/root/by-rsync/")
    host.run("rsync", "-a", "-e", shell, "vm.phoenix:/root/by-rsync/", f"{tmp_path}/rsync/")
    assert_same_tree(tree, tmp_path / "rsync")


def test_sftp_puts_and_gets_files(host: Host, lonely: Machine, tree: Path, tmp_path: Path) -> None:
    batch = f"mkdir /root/by-sftp\nput -r '{tree}/directory 1' /root/by-sftp\nls -l /root/by-sftp\n"
    batch += f"get -r '/root/by-sftp/directory 1' '{tmp_path}'\nrename '/root/by-sftp/directory 1' /root/by-sftp/d\n"
    host.run("sftp", *host.ssh_options(), "-b", "-", "vm.phoenix", input=batch.encode())
    assert_same_tree(tree / "directory 1", tmp_path / "directory 1")
    assert lonely.run("ls /root/by-sftp").text == "d"


PLAYBOOK = """
- hosts: vm.phoenix
  gather_facts: false
  tasks:
    - copy: {src: hello.txt, dest: /root/by-ansible.txt, mode: "0640"}
    - template: {src: greeting.j2, dest: /root/by-template.txt}
    - command: cat /root/by-ansible.txt /root/by-template.txt
      register: shown
    - assert: {that: "shown.stdout == 'hello\\nThis is vm.phoenix.'"}
"""


def test_ansible_runs_a_playbook(host: Host, lonely: Machine, tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello\n")
    (tmp_path / "greeting.j2").write_text("This is {{ inventory_hostname }}.\n")
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    # One connection for all tasks, which does not keep the port from others for long.
    environment = {**host.environment, "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=2s"}
    words = ["-i", "vm.phoenix,", "-u", "root", "--ssh-extra-args", " ".join(host.ssh_options()), "playbook.yml"]
    playing = [sys.executable, "-m", "ansible", "playbook", *words]
    report = subprocess.run(
        playing, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
    ).stdout
    assert "failed=0 " in report, report
    assert lonely.run("stat -c %a /root/by-ansible.txt").text == "640"


def test_rsync_without_sshd(host: Host, tree: Path, tmp_path: Path) -> None:
    script = host.directory / "through-agent"
    command = " ".join(host.phoenixctl("exec", "-i", host.endpoint))
    script.write_text(f'#!/bin/sh\nguest=$1; shift; exec {command} -- "$@"\n')
    script.chmod(0o755)
    host.run("rsync", "-a", "-e", script, f"{tree}/", "vm:/root/by-exec/")
    host.run("rsync", "-a", "-e", script, "vm:/root/by-exec/", f"{tmp_path}/back/")
    assert_same_tree(tree, tmp_path / "back")


def test_git_clones_a_repository_of_the_guest(host: Host, lonely: Machine, tmp_path: Path) -> None:
    lonely.run(
        "cd /root && git init -q repository && cd repository && echo content > file && git add file && "
        "git -c user.name=x -c user.email=x@example.org commit -q -m first"
    )
    ssh = " ".join(["ssh", *host.ssh_options()])
    host.run("git", "-c", f"core.sshCommand={ssh}", "clone", "-q", "vm.phoenix:/root/repository", tmp_path / "clone")
    assert (tmp_path / "clone" / "file").read_text() == "content\n"


@contextlib.contextmanager
def forwarding(host: Host, *words: str) -> Iterator[int]:
    """Run `phoenixctl forward`, and yield the port on which it listens."""
    process = subprocess.Popen(
        host.phoenixctl("forward", host.endpoint, *words), stderr=subprocess.PIPE, text=True, env=host.environment
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    yield int(line.split()[0].rpartition(":")[2])
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


def test_a_web_page_of_the_guest(host: Host, lonely: Machine) -> None:
    lonely.run(
        "mkdir -p /root/site && echo hello > /root/site/page && head -c 3000000 /dev/urandom > /root/site/big && "
        "cd /root/site && (setsid python3 -m http.server --bind 127.0.0.1 8000 > /dev/null 2>&1 &) && "
        "until socat -u OPEN:/dev/null TCP:127.0.0.1:8000; do sleep 0.2; done"
    )
    digest = lonely.run("sha256sum < /root/site/big").text.split()[0]
    with forwarding(host, "0:127.0.0.1:8000") as port:
        assert host.run("curl", "-sS", "--fail", f"http://127.0.0.1:{port}/page") == "hello\n"
        urls = [f"http://127.0.0.1:{port}/big"] * 4
        outputs = [word for number in range(4) for word in ("-o", str(host.directory / f"big{number}"))]
        host.run("curl", "-sS", "--fail", "--parallel", *outputs, *urls)
    for number in range(4):
        assert hashlib.sha256((host.directory / f"big{number}").read_bytes()).hexdigest() == digest


def make_package_index(directory: Path) -> None:
    """Make a Debian package and the index that apt-get reads."""
    control = "Package: phoenix-greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n"
    control += "Description: says hello\n"
    (directory / "package" / "DEBIAN").mkdir(parents=True)
    (directory / "package" / "DEBIAN" / "control").write_text(control)
    (directory / "package" / "etc").mkdir()
    (directory / "package" / "etc" / "phoenix-greeting").write_text("hello\n")
    package = directory / "phoenix-greeting.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", directory / "package", package], check=True)
    content = package.read_bytes()
    index = f"{control}Filename: ./{package.name}\nSize: {len(content)}\n"
    index += f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
    (directory / "Packages").write_text(index)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def test_the_guest_installs_a_package_from_a_server_of_the_host(host: Host, lonely: Machine, tmp_path: Path) -> None:
    make_package_index(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *request: Quiet(*request, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with forwarding(host, "-R", f"0:127.0.0.1:{server.server_address[1]}") as port:
            lonely.run(
                f"echo 'deb [trusted=yes] http://127.0.0.1:{port} ./' > /root/sources.list && "
                "export DEBIAN_FRONTEND=noninteractive && "
                "apt() { apt-get -q -o Dir::Etc::sourcelist=/root/sources.list -o Dir::Etc::sourceparts=- "
                '-o APT::Sandbox::User=root "$@"; } && '
                "apt update && apt install -y phoenix-greeting",
                timeout=200,
            )
    finally:
        server.shutdown()
        server.server_close()
    assert lonely.run("cat /etc/phoenix-greeting").text == "hello"


def test_a_sparse_file_crosses_as_fast_as_its_data(host: Host, lonely: Machine, tmp_path: Path) -> None:
    source, back = tmp_path / "sparse", tmp_path / "back"
    with source.open("wb") as file:
        file.truncate(2 << 30)
        file.seek(1 << 30)
        file.write(os.urandom(10 << 20))
    host.run(*host.phoenixctl("cp", source, f"{host.endpoint}:/root/sparse"))
    size, blocks = lonely.run("stat -c '%s %b' /root/sparse").text.split()
    assert int(size) == 2 << 30
    assert int(blocks) * 512 < 11 << 20
    host.run(*host.phoenixctl("cp", f"{host.endpoint}:/root/sparse", back))
    assert back.stat().st_blocks * 512 < 11 << 20
    assert filecmp.cmp(source, back, shallow=False)
