"""Copies of disks that are made while frozen need no recovery, and have everything that a writer made durable.

The same copies without a freeze do need it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.freeze.freezer import Freezer
from tests.agent.loop_devices import TIMEOUT, Bench, needs_root, run, wait_until
from tests.disk_copies import PROGRAMS, WRITER, check, copy, copy_inner, is_complete, numbers

pytestmark = [
    pytest.mark.root,
    needs_root,
    pytest.mark.timeout(240),
    pytest.mark.programs("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", *PROGRAMS),
]

SIZES = {"ext4": "32M", "xfs": "320M", "btrfs": "128M"}


class Writers:
    """Processes that write numbers, each durably, until they are stopped."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, log: Path) -> None:
        words: list[str | Path] = [sys.executable, "-I", "-S", WRITER, log, self._acknowledged(name)]
        self._processes[name] = subprocess.Popen(words)
        wait_until(lambda: self.last(name) >= 3)

    def last(self, name: str) -> int:
        """Return the last number that is durable."""
        try:
            return int(self._acknowledged(name).read_bytes() or b"0")
        except FileNotFoundError:
            return 0

    def all(self) -> dict[str, int]:
        return {name: self.last(name) for name in self._processes}

    def settled(self) -> dict[str, int]:
        """Return the last durable numbers while all is frozen: what was durable before may be told a little later."""
        before = self.all()
        time.sleep(0.3)
        after = self.all()
        assert all(after[name] - before[name] <= 1 for name in after)
        return after

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(TIMEOUT)

    def _acknowledged(self, name: str) -> Path:
        return self._directory / f"acknowledged-{name}"


@pytest.fixture
def writers(bench: Bench, tmp_path: Path) -> Iterator[Writers]:
    # Stopped before the bench unmounts.
    writers = Writers(tmp_path)
    yield writers
    writers.stop()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_copy_of_one_disk(bench: Bench, real_freezer: Freezer, writers: Writers, tmp_path: Path, kind: str) -> None:
    image = tmp_path / "image"
    point = bench.make(image, "point", kind=kind, size=SIZES[kind])
    writers.start("one", point / "log")
    if kind == "ext4":
        # Without a freeze.
        assert check(kind, copy(image)) == "needs_recovery"
    generation = real_freezer.freeze_recorded().generation
    try:
        copied = copy(image)
        before = writers.settled()["one"]
    finally:
        real_freezer.thaw(generation)
    if kind != "btrfs":
        # The kernel would take the copy of a btrfs for the original, which is mounted.
        assert is_complete(numbers(kind, copied, "log"), before)
    assert check(kind, copied) == ""
    wait_until(lambda: writers.last("one") > before)


def test_copies_of_stacked_filesystems(bench: Bench, real_freezer: Freezer, writers: Writers, tmp_path: Path) -> None:
    outer = bench.make(tmp_path / "image", "outer", kind="xfs", size=SIZES["xfs"])
    inner = bench.make(outer / "inner.img", "inner", size="32M")
    upper, work, overlay = inner / "upper", inner / "work", tmp_path / "overlay"
    for path in (upper, work, overlay):
        path.mkdir()
    bench.mount("none", overlay, "-t", "overlay", "-o", f"lowerdir=/etc,upperdir={upper},workdir={work}")
    bind = tmp_path / "bind"
    bind.mkdir()
    bench.mount(outer, bind, "--bind")
    writers.start("overlay", overlay / "log")
    writers.start("bind", bind / "log")
    generation = real_freezer.freeze_recorded().generation
    try:
        copied = copy(tmp_path / "image")
        before = writers.settled()
    finally:
        real_freezer.thaw(generation)
    assert is_complete(numbers("xfs", copied, "log"), before["bind"])
    inner_copy = copy_inner("xfs", copied, "inner.img")
    assert check("xfs", copied) == ""
    assert check("ext4", inner_copy) == ""
    assert is_complete(numbers("ext4", inner_copy, "upper/log"), before["overlay"])
    wait_until(lambda: all(number > before[name] for name, number in writers.all().items()))


def test_copies_of_a_btrfs_on_two_disks(
    bench: Bench, real_freezer: Freezer, writers: Writers, tmp_path: Path
) -> None:
    images = [tmp_path / f"image{number}" for number in range(2)]
    loops = []
    try:
        for image in images:
            run("truncate", "-s", SIZES["btrfs"], image)
            loops.append(run("losetup", "--find", "--show", image))
        run("mkfs.btrfs", "-q", *loops)
        point = tmp_path / "point"
        point.mkdir()
        run("mount", loops[0], point)
        try:
            writers.start("one", point / "log")
            generation = real_freezer.freeze_recorded().generation
            try:
                copies = [copy(image) for image in images]
                before = writers.settled()["one"]
            finally:
                real_freezer.thaw(generation)
            wait_until(lambda: writers.last("one") > before)
            writers.stop()
        finally:
            run("umount", point)
    finally:
        for loop in loops:
            run("losetup", "--detach", loop)
    # Now that the original is gone: the kernel knows a btrfs by its number.
    copied = []
    try:
        for each in copies:
            copied.append(run("losetup", "--find", "--show", "--read-only", each))
        assert run("btrfs", "check", "--readonly", copied[0]) is not None
    finally:
        for loop in copied:
            run("losetup", "--detach", loop)
