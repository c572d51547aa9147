"""Installing the agent, without a systemd of this machine: what is written, and what is refused."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from phoenix_ga.agent import install, installed_qemu_ga
from phoenix_ga.agent.linux import waiter
from phoenix_ga.agent.options.option import ConfigError
from tests.support import SOURCE
from tools import build_native
from tools.build_pyz import build

UNIT = SOURCE.parent / "packaging" / "systemd" / "phoenix-ga.service"


class System:
    """A guest below a directory. state: what `systemctl show` says of the service."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program = directory / "usr/sbin/phoenix-ga"
        self.units = directory / "units"
        self.called: list[tuple[str, ...]] = []
        self.state = "ActiveState=active\nNRestarts=0\nMainPID=4711\n"
        # What the service runs; empty for what its unit says.
        self.command = ""
        self.program.parent.mkdir(parents=True)
        self.units.mkdir()
        monkeypatch.setattr(install, "PROGRAM", str(self.program))
        self.waiter = directory / "usr/lib/phoenix-guest-agent/phoenix-wait"
        monkeypatch.setattr(install, "WAITER", str(self.waiter))
        monkeypatch.setattr(install, "UNITS", str(self.units))
        monkeypatch.setattr(install, "_SYSTEMD", str(directory))
        monkeypatch.setattr(install, "_START_TIME", 0.0)
        monkeypatch.setattr(install, "_systemctl", self._systemctl)
        monkeypatch.setattr(install, "_command_line", self._command_line)
        monkeypatch.setattr(install, "_check_ports", lambda pid, ports: ["/dev/port"])
        monkeypatch.setattr(installed_qemu_ga, "check", lambda: None)
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def _systemctl(self, *words: str, check: bool = True) -> tuple[int, str]:
        self.called.append(words)
        return 0, self.state if words[0] == "show" else ""

    def _command_line(self, pid: str) -> str:
        assert pid == "4711"
        return self.command or f"/usr/bin/python3 -I {self.exec_start()}/source"

    def exec_start(self) -> str:
        lines = (self.units / "phoenix-ga.service").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("ExecStart="))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    return System(tmp_path, monkeypatch)


def test_the_unit_is_that_of_the_packaging() -> None:
    assert install.unit("/usr/sbin/phoenix-ga", replace_qemu_ga=False) == UNIT.read_bytes()
    replaced = install.unit("/opt/agent", replace_qemu_ga=True).decode()
    assert "\nExecStart=/opt/agent\n" in replaced
    assert replaced.endswith("\nAlias=qemu-guest-agent.service\n")


@pytest.mark.programs("cc")
@pytest.mark.timeout(180)
def test_the_unit_and_the_waiter_are_in_the_archive_for_each_interpreter(tmp_path: Path) -> None:
    archive = tmp_path / "phoenix-ga.pyz"
    trees = build(archive)
    waiter_name = f"phoenix-wait-{os.uname().machine}"
    built = (build_native.TARGET / waiter_name).read_bytes()
    for tree in ("source", *trees):
        name = f"{tree}/phoenix_ga/agent/phoenix-ga.service"
        assert zipfile.ZipFile(archive).read(name) == UNIT.read_bytes()
        assert zipfile.ZipFile(archive).read(f"{tree}/phoenix_ga/agent/native/{waiter_name}") == built
    script = "import sys; sys.path.insert(0, sys.argv[1]); from phoenix_ga.agent import install; "
    script += "sys.stdout.buffer.write(install.unit(install.PROGRAM, False))"
    tree = f"{archive}/{sys.implementation.cache_tag}"
    assert subprocess.check_output([sys.executable, "-ISc", script, tree]) == UNIT.read_bytes()
    script = "import sys; sys.path.insert(0, sys.argv[1]); from phoenix_ga.agent.linux import waiter; "
    script += "sys.stdout.buffer.write(waiter.bundled_waiter())"
    assert subprocess.check_output([sys.executable, "-ISc", script, tree]) == built


def test_a_program_of_a_package_runs_from_where_it_is(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "phoenix-ga"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "--install"])
    monkeypatch.setattr(sys, "path", ["/nowhere/x"])
    assert install.install(replace_qemu_ga=False) == f"phoenix-ga.service runs {program}, and serves /dev/port"
    assert system.exec_start() == str(program)
    assert ("restart", "phoenix-ga.service") in system.called


def test_a_module_is_no_program(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    module = SOURCE / "phoenix_ga" / "agent" / "__main__.py"
    monkeypatch.setattr(sys, "argv", [str(module), "--install"])
    monkeypatch.setattr(sys, "path", ["/nowhere/x"])
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ConfigError, match=r"there is no program .*/bin/phoenix-ga; run --install from"):
        install.install(replace_qemu_ga=False)
    assert list(system.units.iterdir()) == []
    program = tmp_path / "bin" / "phoenix-ga"
    program.touch(0o755)
    install.install(replace_qemu_ga=False)
    assert system.exec_start() == str(program)


def test_the_archive_is_copied(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "phoenix-ga.pyz"
    archive.write_bytes(b"archive")
    monkeypatch.setattr(sys, "path", [f"{archive}/source"])
    install.install(replace_qemu_ga=True)
    assert system.program.read_bytes() == b"archive"
    assert system.program.stat().st_mode & 0o777 == 0o755
    assert system.exec_start() == str(system.program)


def test_the_waiter_is_installed_with_the_archive_and_removed_with_it(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "phoenix-ga.pyz"
    archive.write_bytes(b"archive")
    monkeypatch.setattr(sys, "path", [f"{archive}/source"])
    monkeypatch.setattr(waiter, "bundled_waiter", lambda: b"waiter")
    install.install(replace_qemu_ga=False)
    assert system.waiter.read_bytes() == b"waiter"
    assert system.waiter.stat().st_mode & 0o777 == 0o755
    install.uninstall()
    assert not system.waiter.parent.exists()


@pytest.mark.parametrize("state", ["ActiveState=failed\nNRestarts=0\n", "ActiveState=active\nNRestarts=7\n"])
def test_an_agent_that_does_not_stay_up_is_no_success(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    archive = tmp_path / "phoenix-ga.pyz"
    archive.write_bytes(b"archive")
    monkeypatch.setattr(sys, "path", [f"{archive}/source"])
    system.state = state
    with pytest.raises(ConfigError, match=r"does not stay up; `journalctl -u phoenix-ga.service` shows why"):
        install.install(replace_qemu_ga=False)


def test_an_earlier_agent_that_systemd_has_forgotten_is_ended(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is so if the unit that runs becomes another name of qemu-ga's, which is loaded."""
    with subprocess.Popen(["sleep", "60"]) as old, subprocess.Popen(["sleep", "60"]) as other:
        states = iter([old.pid, 4711, 4711, other.pid, *[4711] * 5])
        monkeypatch.setattr(
            install, "_state", lambda: {"ActiveState": "active", "NRestarts": "0", "MainPID": str(next(states))}
        )
        program = tmp_path / "program"
        program.touch(0o755)
        commands = {
            str(old.pid): f"python3 {program}",
            str(other.pid): "another program",
            "4711": f"python3 {program}",
        }
        monkeypatch.setattr(install, "_command_line", commands.get)
        monkeypatch.setattr(install, "_install_program", lambda: str(program))
        try:
            install.install(replace_qemu_ga=True)
            assert old.wait(30) == -signal.SIGTERM
            # Its number was given to another program meanwhile.
            install.install(replace_qemu_ga=True)
            install.install(replace_qemu_ga=True)
            assert other.poll() is None
        finally:
            old.kill()
            other.kill()


def test_a_service_that_runs_something_else_is_no_success(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "phoenix-ga.pyz"
    archive.write_bytes(b"archive")
    monkeypatch.setattr(sys, "path", [f"{archive}/source"])
    system.command = "/usr/bin/qemu-ga --verbose"
    with pytest.raises(
        ConfigError, match=r"runs /usr/bin/qemu-ga --verbose, not .*/usr/sbin/phoenix-ga; `systemctl cat"
    ):
        install.install(replace_qemu_ga=True)


def check_ports(ports: list[str], opened: list[int], pid: int | None = None) -> list[str]:
    """Check ports of which a process has some open. pid: that of the service; None: that process."""
    with subprocess.Popen(["sleep", "60"], pass_fds=opened) as process:
        try:
            return install._check_ports(str(pid or process.pid), tuple(ports))
        finally:
            process.kill()


def test_success_is_told_once_the_service_has_opened_its_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_PORT_TIME", 1.0)
    terminals = [pty.openpty() for _ in range(2)]
    names = [os.ttyname(slave) for _, slave in terminals]
    try:
        assert check_ports([*names, "/dev/missing", "unix:/run/x"], [slave for _, slave in terminals]) == names
        assert check_ports(["/dev/missing"], []) == []
        # One port is enough if the options of the unit name others.
        os.close(terminals[1][1])
        assert check_ports(names, [terminals[0][1]]) == names[:1]
        with pytest.raises(ConfigError, match=rf"cannot serve {names[0]}: .*\(process [0-9]+\) has it"):
            check_ports(names, [terminals[0][1]], pid=1)
        os.close(terminals[0][1])
        with pytest.raises(ConfigError, match=rf"does not serve {names[0]}; `journalctl"):
            check_ports(names, [])
    finally:
        for master, _ in terminals:
            os.close(master)
