"""A guest to back up: filesystems on disks of their own, and a writer on each that logs what it made durable."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.libvirt import Domain
from lab.machine import Machine
from tests.cli.conftest import command_line, environment
from tests.support import wait_for
from tools.guest import AGENT_PORT

# Its path in the guest.
WRITER = "/root/durable_writer.py"


def start_writer(machine: Machine, name: str, log: str) -> None:
    """Start a writer in the guest. name: for `acknowledged`."""
    machine.run(f"setsid --fork python3 -IS {WRITER} {log} /run/acked-{name} > /dev/null 2>&1 < /dev/null")


def acknowledged(machine: Machine | Domain) -> dict[str, int]:
    """Return the last durable number of each writer. It takes nothing from a disk."""
    lines = machine.run("cd /run; for file in acked-*; do read -r n < $file; echo $file $n; done 2>&1").text
    pairs = (line.removeprefix("acked-").split() for line in lines.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def settled(machine: Machine) -> dict[str, int]:
    """Return the last durable numbers of a frozen guest: what was durable before may be told a little later."""
    before = acknowledged(machine)
    time.sleep(1)
    after = acknowledged(machine)
    assert all(after[name] - before[name] <= 1 for name in before), "writers go on"
    return after


def wait_for_writers(machine: Machine | Domain, before: Mapping[str, int]) -> None:
    """Wait until each writer has written since."""
    wait_for(lambda: all(number > before[name] for name, number in acknowledged(machine).items()))


def phoenixctl(machine: Machine, *words: str) -> list[str]:
    """Return a command line of phoenixctl, in which GUEST stands for the guest."""
    return command_line(*(word.replace("GUEST", f"unix:{machine.socket(AGENT_PORT)}") for word in words))


class FrozenCommand:
    """`phoenixctl frozen` with a command that ends when the test says so. It leaves nothing running."""

    def __init__(self, machine: Machine, auto_thaw: int, guest: str = "GUEST") -> None:
        line = phoenixctl(machine, "frozen", "--auto-thaw", str(auto_thaw), guest, "--")
        self.process = subprocess.Popen(
            [*line, "sh", "-c", "echo ready; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(self.process.communicate()[1])
        self.started = time.monotonic()

    def __enter__(self) -> FrozenCommand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """Let the command end; return the exit status of phoenixctl, and what it says."""
        _, errors = self.process.communicate("\n", timeout=180)
        return self.process.returncode, errors


def kill_snapshot(machine: Machine, monitor: Path, directory: Path, delay: float) -> str:
    """Kill phoenixctl in a snapshot; if QEMU goes on with new files, a manifest tells of them. Returns what it found.

    Args:
        monitor: a QMP socket that nobody else uses.
        directory: a new one for the files.
        delay: in seconds.
    """

    def active() -> set[str]:
        return {block["inserted"]["file"] for block in machine.qmp("query-block") if "inserted" in block}

    directory.mkdir()
    before = active()
    words = ("snapshot", "--qmp", str(monitor), "--external", str(directory), "--name", "n", "--auto-thaw", "3")
    process = subprocess.Popen(
        phoenixctl(machine, *words, "GUEST"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    time.sleep(delay)
    process.kill()
    process.wait()
    wait_for_writers(machine, acknowledged(machine))
    new = active() - before
    manifest = directory / "n.json"
    told: dict[str, Any] = (
        json.loads(manifest.read_text()) if manifest.exists() else {"verdict": "none", "guests": {}}
    )
    files = {disk["file"] for guest in told["guests"].values() for disk in guest["disks"]}
    assert new <= files, told
    return f"killed after {delay:.2f} s: {len(new)} new files in use, manifest: {told['verdict']}"
