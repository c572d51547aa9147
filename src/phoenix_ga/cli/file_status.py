"""What ls and stat share"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus


# The bits of a mode that are a file type or permissions; a guest may send more.
MODE_BITS = 0o177777


def status_to_json(path: str, status: FileStatus) -> dict[str, Any]:
    from dataclasses import asdict

    return {"path": path, **asdict(status)}


def owner_of(status: FileStatus) -> str:
    return status.user or str(status.uid)


def group_of(status: FileStatus) -> str:
    return status.group or str(status.gid)


def device_numbers(number: int) -> tuple[int, int]:
    """Return major and minor as makedev(3) of glibc puts them together; of any number."""
    major = (number >> 8) & 0xFFF | (number >> 32) & ~0xFFF & 0xFFFFFFFF
    minor = number & 0xFF | (number >> 12) & ~0xFF & 0xFFFFFFFF
    return major, minor
