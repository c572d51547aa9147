"""Every example of phoenixctl's help, and of the README, does in a real guest what it says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.files import GuestFile, Source, Symlink
from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga.agent.options.table import CONFIG_PATH
from phoenix_ga.cli.program import program
from tests.hub.conftest import HubProcess
from tests.network import ip, new_namespace
from tests.support import SOURCE
from tools.guest import agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.root, pytest.mark.timeout(900)]

README = SOURCE.parent / "README.md"
# These end the guest, and are tried last.
POWER = ("reboot", "shutdown", "suspend")
# They install the agent; tests/guest/test_guest_deploy.py and tests/cli/test_deploy.py use them.
INSTALLING = {"deploy", "cloud-init", "agent-iso"}
ALL_EXAMPLES = [
    (name, line)
    for name, command in program.load_all().items()
    if name not in INSTALLING
    for line in re.findall(r"^  \$ (.*)$", command.epilog or "", re.MULTILINE)
]
EXAMPLES = [(name, line) for name, line in ALL_EXAMPLES if name not in POWER]
README_EXAMPLES = [
    ("README", line) for line in re.findall(r"^    \$ (phoenixctl .*)$", README.read_text(), re.MULTILINE)
]
# Interactive verbs refuse to run without a terminal.
ON_A_TERMINAL = (
    f"{sys.executable} -c 'import os, pty, sys; "
    """sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-c", sys.argv[1]])))'"""
)
SERVICE = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest that has what the examples are about, with two ports: it is web1, and web2 or db1."""
    files: dict[str, Source] = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    ports = ", ".join(f"/dev/virtio-ports/{name}" for name in DEFAULT_PORTS)
    files[CONFIG_PATH] = GuestFile(f"[general]\nport = {ports}\n".encode())
    files["/etc/systemd/system/nginx.service"] = GuestFile(SERVICE.encode())
    files["/etc/systemd/system/multi-user.target.wants/nginx.service"] = Symlink("../nginx.service")
    files["/usr/bin/psql"] = GuestFile(b"#!/bin/sh\ntty && id -un\n", mode=0o755)
    # The lab has the other monitor, and a monitor has one client.
    monitor = tmp_path_factory.mktemp("qmp") / "qmp"
    arguments = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with Machine(network=True, files=files, arguments=arguments) as running:
        wait_for_agent(running.socket(DEFAULT_PORTS[0]))
        running.run(
            "mkdir -p /srv/www /etc/nginx /run/postgresql /run/sshd /root/.ssh && useradd postgres && useradd alice"
        )
        running.run("touch /etc/issue /etc/motd /var/log/syslog /var/log/syslog.1.gz")
        # A network manager, which configures nothing.
        running.run("systemctl start systemd-networkd")
        running.run("ssh-keygen -A && /usr/sbin/sshd -o ListenAddress=127.0.0.1")
        yield running


class Host:
    """A user's directory on the host, and the programs that the examples speak of."""

    def __init__(self, directory: Path, machine: Machine) -> None:
        self.directory = directory
        self._sockets = [
            *(machine.socket(name) for name in DEFAULT_PORTS),
            Path(machine.arguments[1][5:].split(",")[0]),
        ]
        programs = {
            "phoenixctl": f'exec {sys.executable} -m phoenix_ga.cli "$@"',
            "ssh": f'exec /usr/bin/ssh -F {directory}/.ssh/config "$@"',
            "generate-config": "echo text",
        }
        for name in ("bin", ".ssh", "logs"):
            (directory / name).mkdir()
        for name, text in programs.items():
            self._write(f"bin/{name}", f"#!/bin/sh\n{text}\n").chmod(0o755)
        self._write("take-snapshot", "#!/bin/sh\nexit 0\n").chmod(0o755)
        for name in ("index.html", "style.css", "site.conf", "list"):
            self._write(name, name)
        self._write("web.yml", "{}\n")
        names = "".join(f'{name} = "{socket}"\n' for name, socket in zip(("web1", "db1"), self._sockets))
        (directory / ".config" / "phoenix").mkdir(parents=True)
        self._write(".config/phoenix/config.toml", f"sources = []\n[guests]\n{names}")
        key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        options = ("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {directory}/known", f"IdentityFile {key}")
        self._write(".ssh/id_ed25519.pub", key.with_suffix(".pub").read_text())
        self._write("old.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGone old\n")
        self._write("password", "sesame\n")
        self._write(".ssh/config", "".join(f"{option}\n" for option in (*options, "LogLevel ERROR")))
        self.run(f"phoenixctl tee -m 600 /run/web1.sock:/root/.ssh/authorized_keys < {key}.pub")

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def start(self, line: str) -> subprocess.Popen[str]:
        """Start a line in a shell, in which web1 and web2 are the guest."""
        for name, socket in zip(("/run/web1.sock", "/run/web2.sock", "/run/web1.qmp"), self._sockets):
            line = line.replace(name, str(socket))
        environment = {"PATH": f"{self.directory}/bin:{os.environ['PATH']}", "HOME": str(self.directory)}
        environment["XDG_CONFIG_HOME"] = f"{self.directory}/.config"
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.directory,
            env={**os.environ, **environment, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, line: str) -> str:
        """Run a line to its end, and return what it wrote; fail where it fails."""
        if "4711" in line:
            # A signal needs a process that runs, and attach waits for its end.
            program = "sleep 60" if line.startswith("phoenixctl kill") else "true"
            line = line.replace("4711", self.run(f"phoenixctl exec -d /run/web1.sock -- {program}").strip())
        if line.startswith("phoenixctl shell") or " -it " in line:
            line = f"{ON_A_TERMINAL} {shlex.quote(line)}"
        if line.startswith("phoenixctl check"):
            # The state of the guest is its affair, but it has one.
            line = f"{line} || [ $? -lt 3 ]"
        process = self.start(f"set -eo pipefail; {line}")
        output, errors = process.communicate("exit\n", timeout=120)
        assert process.returncode == 0, (line, output, errors)
        return output

    def run_with_hub(self, line: str) -> None:
        """Run a line while a hub offers the guests."""
        guests = {name: f"unix:{socket}" for name, socket in zip(("web1", "db1"), self._sockets)}
        with HubProcess(self.directory, guests):
            self.run(f"export PHOENIX_HUB_DIRECTORY={self.directory}/hub; {line}")

    def interrupt(self, line: str) -> None:
        """Run a line that has no end of its own until it says that it is at work."""
        with self.start(f"exec {line}") as process:
            try:
                assert process.stderr is not None
                assert re.search("->|serving", process.stderr.readline()), line
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
            finally:
                process.kill()


@pytest.fixture(scope="module")
def host(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    # The ports of this machine may be taken.
    with new_namespace():
        ip("link", "set", "lo", "up")
        yield Host(tmp_path_factory.mktemp("home"), machine)


def until_interrupted(line: str) -> str:
    """Return what runs a line that has no end of its own for a while."""
    return f"timeout -s INT 10 {line} || [ $? -eq 124 ]"


@pytest.mark.parametrize(
    ("name", "line"), [*EXAMPLES, *README_EXAMPLES], ids=[line[:60] for _, line in [*EXAMPLES, *README_EXAMPLES]]
)
def test_an_example_works_when_it_is_typed(host: Host, name: str, line: str) -> None:
    if line.startswith(("phoenixctl forward", "phoenixctl exporter")):
        host.interrupt(line)
    elif name == "events":
        host.run(until_interrupted(line))
    elif name == "hub":
        host.run_with_hub(until_interrupted(line) if line.endswith(" -f") else line)
    else:
        host.run(line)


def test_each_verb_has_an_example() -> None:
    verbs = set(program.load_all()) - INSTALLING
    assert {name for name, _ in ALL_EXAMPLES} == verbs
    assert all(name in "".join(line for own, line in ALL_EXAMPLES if own == name) for name in verbs)


def test_the_examples_did_what_they_say(host: Host, machine: Machine) -> None:
    assert machine.run("stat -c '%a %U:%G' /etc/motd").text.strip() == "644 root:adm"
    assert machine.run("stat -c %a /srv/www/site/static").text.strip() == "750"
    assert "192.0.2.10/24" in machine.run("ip address show dev eth0").text
    assert machine.run("ip route show default").text.startswith("default via 192.0.2.1 dev eth0")
    assert machine.run("cat /etc/app.conf /etc/site.conf").text == "text\nsite.conf"
    assert machine.run("ls /srv/www/site").text.split() == ["static"]
    assert machine.run("ls /srv/www").text.split() == ["index.html", "site", "style.css"]
    assert host.run("phoenixctl freeze-status unix:/run/web1.sock").startswith("thawed")


def test_the_guest_reboots_and_shuts_down(host: Host) -> None:
    host.run("phoenixctl reboot --wait web1 --timeout 300")
    host.run("phoenixctl shutdown --wait web1 --timeout 300")
