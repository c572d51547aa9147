"""The status of a file of the guest, as `ls` and `stat` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus


def mode_of(status: FileStatus) -> int:
    """Return type and permissions. A guest may send more bits than the stat module accepts."""
    return status.mode & 0o177777


def status_to_json(path: str, status: FileStatus) -> dict[str, Any]:
    """Return all that is known as a value for JSON."""
    # Not asdict, which copies each value and takes ten times as long.
    return {"path": path, **vars(status)}


def owner_of(status: FileStatus) -> str:
    """Return the owner's name, or the number if it has none."""
    return status.user or str(status.uid)


def group_of(status: FileStatus) -> str:
    """Return the group's name, or the number if it has none."""
    return status.group or str(status.gid)


def device_numbers(number: int) -> tuple[int, int]:
    """Return major and minor number, as makedev(3) of glibc encodes them."""
    major = (number >> 8) & 0xFFF | (number >> 32) & ~0xFFF & 0xFFFFFFFF
    minor = number & 0xFF | (number >> 12) & ~0xFF & 0xFFFFFFFF
    return major, minor
