"""Copies of disks, made on the host: what a filesystem check finds in them, and what is lost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.agent.loop_devices import run

#: What writes to a disk, with Python alone.
WRITER = Path(__file__).with_name("agent") / "durable_writer.py"
#: Programs that the checks need.
PROGRAMS = ("losetup", "dumpe2fs", "e2fsck", "xfs_repair", "btrfs")
#: Mount options with which a filesystem is read as it is, without a recovery.
AS_IT_IS = {"ext4": "ro,noload", "xfs": "ro,norecovery,nouuid", "btrfs": "ro,rescue=nologreplay"}
_CHECKS = {"ext4": ("e2fsck", "-f", "-n"), "xfs": ("xfs_repair", "-n"), "btrfs": ("btrfs", "check", "--readonly")}


def check(kind: str, copied: Path) -> str:
    """Return what the check of a filesystem finds wrong with a copy, without repairing it."""
    if kind == "ext4" and "needs_recovery" in run("dumpe2fs", "-h", copied):
        return "needs_recovery"
    if kind == "btrfs":
        found = run("btrfs", "inspect-internal", "dump-super", copied)
        if "log_root\t\t0\n" not in found:
            return "its log has to be replayed"
    if kind == "xfs":
        # XFS leaves counters of the superblock in its log when it is frozen, see xfs_log_quiesce in fs/xfs/xfs_log.c.
        with mounted(copied, "nouuid"):
            pass
    result = subprocess.run([*_CHECKS[kind], copied], capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stdout + result.stderr


@contextlib.contextmanager
def mounted(image: Path, options: str) -> Iterator[Path]:
    """Mount a copy, and yield the mount point.

    Not by `mount -o loop`, which may find a loop device that is about to end.
    """
    point = image.with_name(f"{image.name}-mounted")
    point.mkdir(exist_ok=True)
    loop = run("losetup", "--find", "--show", image)
    try:
        run("mount", "-o", options, loop, point)
        try:
            yield point
        finally:
            run("umount", point)
    finally:
        run("losetup", "--detach", loop)


def numbers(kind: str, copied: Path, log: str) -> list[int]:
    """Return what WRITER has written, in a copy that is not recovered."""
    with mounted(copied, AS_IT_IS[kind]) as point:
        return [int(line) for line in (point / log).read_text().split()]


def copy(image: Path, directory: Path | None = None) -> Path:
    """Copy an image into a directory, by default that of the image."""
    target = (directory or image.parent) / f"{image.name}-copy"
    subprocess.run(["cp", "--sparse=always", image, target], check=True)
    return target


def copy_inner(kind: str, copied: Path, name: str) -> Path:
    """Copy an image that is in a copy, and return it."""
    target = copied.with_name(f"{copied.name}-{name}")
    with mounted(copied, AS_IT_IS[kind]) as point:
        shutil.copyfile(point / name, target)
    return target


def is_complete(found: list[int], acknowledged: int) -> bool:
    """Return whether all numbers are there that were acknowledged; one more may have been written."""
    return found == list(range(1, len(found) + 1)) and len(found) in (acknowledged, acknowledged + 1)
