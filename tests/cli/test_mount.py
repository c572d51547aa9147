"""Files of a guest as a filesystem of this host, with sshfs."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.cli.mounting import is_mounted
from tests.cli.conftest import Run
from tests.support import AgentProcess, wait_for


def has_fuse() -> bool:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return True


sshfs = [
    pytest.mark.root,
    pytest.mark.programs("sshfs"),
    pytest.mark.may_skip,
    pytest.mark.skipif(not has_fuse(), reason="there is no /dev/fuse"),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with one of the guest, `there`, and one to mount it on, `here`."""
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path / "here"], stderr=subprocess.DEVNULL, check=False)


def tools(*words: object, cwd: Path) -> str:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=True, cwd=cwd, timeout=120).stdout


@pytest.mark.parametrize("case", [pytest.param("", marks=sshfs)])
def test_a_directory_is_mounted_used_and_unmounted(
    run: Run, agent: AgentProcess, endpoint: str, place: Path, case: str
) -> None:
    there, here = place / "there", place / "here"
    children = set(agent.children())
    assert run("mount", f"{endpoint}:{there}", here).returncode == 0
    assert is_mounted(str(here), "fuse.sshfs")
    assert f"{endpoint}:{there} " in Path("/proc/self/mounts").read_text()
    # Both ways, and many.
    source = place / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number}.txt").write_text("x" * number)
    (source / "link").symlink_to("1.txt")
    tools("cp", "-a", source, here / "copied", cwd=place)
    assert tools("diff", "-r", "--no-dereference", source, there / "copied", cwd=place) == ""
    tools("cp", "-a", here / "copied", place / "back", cwd=place)
    assert tools("diff", "-r", "--no-dereference", source, place / "back", cwd=place) == ""
    # An editor's save: a new file is written, synced, and renamed over the old one.
    (there / "conf").write_text("old")
    with (here / "conf~").open("w") as file:
        file.write("new")
        file.flush()
        os.fsync(file.fileno())
    (here / "conf~").rename(here / "conf")
    assert (there / "conf").read_text() == "new"
    if shutil.which("git"):
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"],
        ):
            tools("git", "-c", "safe.directory=*", *words, cwd=here / "copied")
        assert tools("git", "-c", "safe.directory=*", "status", "--porcelain", cwd=here / "copied") == ""
    if shutil.which("rsync"):
        # sshfs sets the times of a link's target, whatever the server could do.
        tools("rsync", "-aJ", "--delete", f"{source}/", here / "synced", cwd=place)
        assert tools("rsync", "-aJn", "--itemize-changes", f"{source}/", here / "synced", cwd=place) == ""
    assert os.statvfs(here).f_blocks > 0
    assert run("umount", here).returncode == 0
    assert not is_mounted(str(here))
    wait_for(lambda: set(agent.children()) <= children)


@pytest.mark.parametrize("case", [pytest.param("", marks=sshfs)])
def test_a_guest_that_is_gone_leaves_no_mount(run: Run, place: Path, case: str) -> None:
    with AgentProcess(place) as agent:
        assert run("mount", "-R", f"unix:{agent.socket_path}:{place}/there", place / "here").returncode == 0
        with pytest.raises(OSError, match="ead-only"):
            (place / "here" / "file").touch()
        assert agent.stop() == 0
    wait_for(lambda: not is_mounted(str(place / "here")))


@pytest.mark.parametrize("case", [pytest.param("", marks=sshfs)])
@pytest.mark.parametrize("what", ["path", "guest", "directory", "twice", "user"])
def test_what_cannot_be_mounted_is_told_and_leaves_nothing(
    run: Run, endpoint: str, place: Path, what: str, case: str
) -> None:
    words: dict[str, list[object]] = {
        "path": [f"{endpoint}:{place}/nowhere", place / "here"],
        "guest": [f"unix:{place}/no.sock:/", place / "here"],
        "directory": [f"{endpoint}:{place}/there", place / "missing"],
        "twice": [f"{endpoint}:{place}/there", "/proc"],
        "user": ["-u", "no-such-user", f"{endpoint}:{place}/there", place / "here"],
    }
    started = time.monotonic()
    result = run("mount", *words[what])
    assert result.returncode == (125 if what == "guest" else 1), result
    assert result.stderr
    assert time.monotonic() - started < 20
    assert not is_mounted(str(place / "here"))


def test_a_missing_sshfs_is_told_with_what_to_do(run: Run, endpoint: str, place: Path) -> None:
    result = run("mount", f"{endpoint}:{place}/there", place / "here", PATH="/nowhere")
    assert (result.returncode, "apt-get install sshfs" in result.stderr) == (1, True)


def test_only_what_was_mounted_is_unmounted(run: Run, place: Path) -> None:
    for directory in (place / "here", "/proc", "/"):
        result = run("umount", directory)
        assert (result.returncode, "no files of a guest are mounted" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "rounds", [pytest.param(200, marks=sshfs), pytest.param(60_000, marks=[*sshfs, pytest.mark.soak])]
)
@pytest.mark.timeout(1800)
def test_random_operations_do_what_they_do_on_a_local_directory(
    run: Run, endpoint: str, place: Path, rounds: int
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    local = place / "local"
    local.mkdir()
    assert run("mount", f"{endpoint}:{place}/there", place / "here").returncode == 0
    for number in range(rounds):
        name, other = (f"{chance.randrange(4)}" for _ in range(2))
        offset, data = chance.randrange(300_000), chance.randbytes(chance.choice((1, 100, 5000, 140_000)))
        kind = chance.choice(("write", "append", "truncate", "rename", "link", "remove", "read", "read"))
        answers = []
        for directory in (local, place / "here"):
            try:
                answers.append(operate(kind, directory / name, directory / other, offset, data))
            except OSError as error:
                answers.append(type(error).__name__)
        assert answers[0] == answers[1], (seed, number, kind, name, other, offset, len(data))
        assert sorted(os.listdir(place / "there")) == sorted(os.listdir(local)), (seed, number, kind)
    assert run("umount", place / "here").returncode == 0
    assert tools("diff", "-r", local, place / "there", cwd=place) == ""


def operate(kind: str, path: Path, other: Path, offset: int, data: bytes) -> object:
    """Do something to a file; return what can be seen of it."""
    if kind == "write":
        with open(os.open(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
            file.seek(offset)
            file.write(data)
    elif kind == "append":
        with path.open("ab") as file:
            file.write(data)
    elif kind == "truncate":
        os.truncate(path, offset)
    elif kind == "rename":
        path.rename(other)
    elif kind == "link":
        other.symlink_to(path.name)
        other.unlink()
    elif kind == "remove":
        path.unlink()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
