"""Control groups of programs, in a group that stands for the one of the agent's unit."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations import program_groups
from phoenix_ga.agent.operations.processes import spawn
from phoenix_ga.agent.operations.program_groups import ProgramGroup, ProgramGroups, clean_up
from tests.support import wait_for

# A program in the shell that says when it no longer ends at SIGTERM.
STUBBORN = "trap '' TERM; echo up; while :; do sleep 1000; done"


@pytest.fixture
def unit() -> Iterator[Path]:
    """A control group without processes."""
    root = next((Path(root) for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if is_ours(Path(root))), None)
    if root is None:
        pytest.skip("needs control groups of version 2, and root")
    unit = root / f"phoenix-test-{os.getpid()}"
    unit.mkdir()
    yield unit
    (unit / "cgroup.kill").write_text("1")
    wait_for(lambda: "populated 0" in (unit / "cgroup.events").read_text())
    for path, _, _ in list(os.walk(unit, topdown=False)):
        os.rmdir(path)


def is_ours(root: Path) -> bool:
    return os.access(root / "cgroup.procs", os.W_OK)


def start(group: ProgramGroup, script: str) -> subprocess.Popen[bytes]:
    """Start a program in the shell; return once it has written a line."""
    process = subprocess.Popen(
        ["sh", "-c", f"echo 0 > /proc/self/fd/{group.procs}; {script}"], stdout=-1, pass_fds=[group.procs]
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


pytestmark = pytest.mark.root


def processes(path: Path) -> list[int]:
    return [int(word) for word in (path / "cgroup.procs").read_text().split()]


def test_a_program_is_in_its_group_before_it_is_executed(unit: Path) -> None:
    with ProgramGroups(str(unit)).open(kept=False) as group:
        child = spawn(["cat", "/proc/self/cgroup"], {}, group=group.procs)
    text = b""
    while not text.endswith(b"\n"):
        try:
            text += os.read(child.stdout, 4096)
        except BlockingIOError:
            time.sleep(0.01)
    os.waitpid(child.pid, 0)
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)
    assert f"0::/{unit.name}/programs/{os.getpid()}-1".encode() in text
    group.end()
    assert [path.name for path in (unit / "programs").iterdir() if path.is_dir()] == ["kept"]


def test_what_a_program_leaves_running_is_kept(unit: Path) -> None:
    groups = ProgramGroups(str(unit))
    with groups.open(kept=False) as group, start(group, "sleep 1000 > /dev/null & echo up") as process:
        process.wait()
        assert process.returncode == 0
        group.end()
        assert len(processes(unit / "programs" / "kept")) == 1
    assert [path.name for path in (unit / "programs").iterdir() if path.is_dir()] == ["kept"]
    clean_up(str(unit))
    assert len(processes(unit / "programs" / "kept")) == 1


@pytest.mark.parametrize("with_kill", [True, False], ids=["cgroup.kill", "an old kernel"])
def test_the_programs_of_a_dead_agent_end_asked_first(
    unit: Path, monkeypatch: pytest.MonkeyPatch, with_kill: bool
) -> None:
    monkeypatch.setattr(program_groups, "_GRACE", 1.0)
    if not with_kill:
        write = program_groups._write

        def write_but_kill(path: str, text: str) -> None:
            if path.endswith("cgroup.kill"):
                raise FileNotFoundError(path)
            write(path, text)

        monkeypatch.setattr(program_groups, "_write", write_but_kill)
    groups = ProgramGroups(str(unit))
    with groups.open(kept=False) as first, groups.open(kept=False) as second, groups.open(kept=True) as third:
        polite = start(first, "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done")
        stubborn = start(second, STUBBORN)
        kept = start(third, "echo up; exec sleep 1000")
    # Its own children are reaped by this process.
    with polite, stubborn, kept:
        clean_up(str(unit))
        assert polite.wait() == 5
        assert stubborn.wait() == -9
        assert kept.poll() is None
        assert [path.name for path in (unit / "programs").iterdir() if path.is_dir()] == ["kept"]
        kept.kill()


def test_a_program_that_cannot_be_started_leaves_no_group(unit: Path) -> None:
    with pytest.raises(FileNotFoundError), ProgramGroups(str(unit)).open(kept=False) as group:
        spawn(["/no/such/program"], {}, group=group.procs)
    assert [path.name for path in (unit / "programs").iterdir() if path.is_dir()] == ["kept"]


def test_nothing_is_done_in_a_group_that_is_not_delegated(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = f"0::/{unit.name}/agent\n"
    monkeypatch.setattr(program_groups, "_read", lambda path: shown)
    assert program_groups.find_unit_group() == ""
    os.setxattr(unit, "trusted.delegate", b"1")
    assert program_groups.find_unit_group() == str(unit)
    with ProgramGroups("").open(kept=False) as group:
        assert group.procs == -1
    assert not group.exists
    clean_up("")
