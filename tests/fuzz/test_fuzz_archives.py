"""No tar stream makes an unpacker, the guest's or the client's, touch anything outside of its directory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.client.trees import _judge
from phoenix_ga.trees.headers import ArchiveError
from phoenix_ga.trees.members import Source, StreamFailed
from phoenix_ga.trees.report import Report
from phoenix_ga.trees.unpack import Rules, Unpacker
from phoenix_ga.trees.xattrs import is_known, is_unprivileged
from tests.fuzz import rounds
from tests.fuzz.archives import archive

STREAMS = 50_000
PARTS = 10
# CPU for one small stream, in seconds.
WORK_MAX = 5.0
Snapshot = dict[str, tuple[int, int, int, bytes]]


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """A directory with another one beside that for the unpackers."""
    inner = tmp_path / "parent"
    (inner / "outside").mkdir(parents=True)
    (inner / "outside" / "secret").write_bytes(b"secret")
    yield inner
    shutil.rmtree(tmp_path / "parent", ignore_errors=True)


def snapshot(parent: Path) -> Snapshot:
    """Return what there is beside the directory of the unpackers."""
    found = {}
    for path in sorted(parent.rglob("*")):
        if "work" not in path.relative_to(parent).parts[:1]:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_nlink, status.st_mtime_ns, content)
    return found


def unpack(stream: bytes, size: int, work: Path, rules: Rules) -> None:
    pieces = iter([stream[start : start + size] for start in range(0, len(stream), size)])
    unpacker = Unpacker(Source(lambda: next(pieces, b""), 2**20), rules, Report(lambda line: None))
    try:
        unpacker.unpack(os.fsencode(work), True)
    except (ArchiveError, StreamFailed, OSError):
        pass


def problem_of(parent: Path, stream: bytes, size: int, before: Snapshot, descriptors: int) -> str:
    """Unpack a stream by the rules of both sides; return what is wrong then, or an empty string."""
    work = parent / "work"
    host = Rules(False, False, devices=False, judge=_judge(str(work)), xattrs=is_unprivileged)
    for rules in (Rules(True, True, devices=True, xattrs=is_known), host):
        work.mkdir()
        began = time.process_time()
        try:
            unpack(stream, size, work, rules)
        except Exception as error:
            return f"unexpected {error!r}"
        if time.process_time() - began > WORK_MAX:
            return "too much work"
        if snapshot(parent) != before:
            return "something outside was changed"
        if parts := [path for path in work.rglob("*.phoenix-part*") if path.name != ".a.phoenix-part"]:
            return f"left behind: {parts}"
        if rules is host and (names := privileged(work)):
            return f"the sender chose {names}"
        if len(os.listdir("/proc/self/fd")) > descriptors:
            return "a descriptor is left"
        remove(work)
    return ""


def privileged(directory: Path) -> set[str]:
    """Return the names of extended attributes below a directory that only root can set, but for labels."""
    names = {name for path in directory.rglob("*") for name in os.listxattr(path, follow_symlinks=False)}
    return {name for name in names if name.startswith(("security.", "trusted."))} - {"security.selinux"}


def remove(directory: Path) -> None:
    for path, _, _ in os.walk(directory):
        os.chmod(path, 0o700)
    shutil.rmtree(directory)


def fuzz(parent: Path, count: int, seed: int) -> None:
    before = snapshot(parent)
    mask = os.umask(0)
    try:
        descriptors = len(os.listdir("/proc/self/fd"))
        for number in rounds.rounds(count):
            chance = rounds.chance(seed, number)
            stream, size = archive(chance), chance.choice((1, 100, 512, 65536))
            if problem := problem_of(parent, stream, size, before, descriptors):
                rounds.fail(seed, number, problem, stream, parent.parent)
    finally:
        os.umask(mask)


@pytest.mark.timeout(300)
def test_unpackers_bear_random_streams(parent: Path) -> None:
    fuzz(parent, STREAMS // 100, rounds.seed())


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_unpackers_bear_50000_random_streams(parent: Path, part: int) -> None:
    fuzz(parent, STREAMS // PARTS, rounds.seed() + part)


def test_many_streams_are_unpacked(parent: Path) -> None:
    """Else the fuzzer would test the first check only."""
    whole = 0
    for number in range(200):
        work = parent / "work"
        work.mkdir()
        stream = archive(rounds.chance(1, number))
        unpack(stream, len(stream), work, Rules(True, True, True, xattrs=is_known))
        whole += any(work.iterdir())
        remove(work)
    assert whole > 20
