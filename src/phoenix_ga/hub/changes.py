"""Notices that guests may have come or gone, without polling: inotify(7) on the directories of their sockets."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import platformdirs

_IN_CLOSE_WRITE: Final = 0x8
_IN_MOVED: Final = 0xC0
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_EVENTS: Final = _IN_CLOSE_WRITE | _IN_MOVED | _IN_CREATE | _IN_DELETE

#: Where libvirt, Proxmox VE and this project keep what changes with the guests.
DIRECTORIES: Final = (
    Path("/run/libvirt/qemu"),
    Path("/run/libvirt/qemu/channel"),
    Path("/var/lib/libvirt/qemu/channel/target"),
    Path("/run/qemu-server"),
    Path("/etc/phoenix"),
)


class Changes:
    """Waits for changes of the directories that exist."""

    def __init__(self, directories: Iterable[Path] = DIRECTORIES) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._changed = asyncio.Event()
        for directory in (*directories, platformdirs.user_config_path("phoenix")):
            self._watch(directory)
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _watch(self, directory: Path) -> None:
        self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _EVENTS)

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        self._changed.set()
