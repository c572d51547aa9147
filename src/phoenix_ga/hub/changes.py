"""Notices that guests may have come or gone, without polling: inotify(7) on the directories of their sockets."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import platformdirs

_IN_CLOSE_WRITE: Final = 0x8
_IN_MOVED: Final = 0xC0
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_MASK_ADD: Final = 0x20000000
_EVENTS: Final = _IN_CLOSE_WRITE | _IN_MOVED | _IN_CREATE | _IN_DELETE
# A directory that does not exist comes by one of these in its parent.
_COMES: Final = _IN_MOVED | _IN_CREATE
_EVENT: Final = struct.Struct("iIII")

#: Where libvirt, Proxmox VE and this project keep what changes with the guests.
DIRECTORIES: Final = (
    Path("/run/libvirt/qemu"),
    Path("/run/libvirt/qemu/channel"),
    Path("/var/lib/libvirt/qemu/channel/target"),
    Path("/run/qemu-server"),
    Path("/etc/phoenix"),
)


def watched_directories() -> list[Path]:
    """Return the directories of the system and of this user."""
    directories = [*DIRECTORIES, platformdirs.user_config_path("phoenix")]
    if "XDG_RUNTIME_DIR" in os.environ:
        session = Path(os.environ["XDG_RUNTIME_DIR"], "libvirt/qemu/run")
        directories += [session, session / "channel", platformdirs.user_config_path("libvirt/qemu/channel/target")]
    return directories


class Changes:
    """Waits for changes of directories. One that does not exist yet is watched once it does."""

    def __init__(self, directories: Iterable[Path] | None = None) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._changed = asyncio.Event()
        self._directories = tuple(watched_directories() if directories is None else directories)
        # The watches of the directories; those of their parents are not among them.
        self._watches = self._watch()
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def note(self) -> None:
        """Note a change of which somebody else told."""
        self._changed.set()

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

    def _watch(self) -> set[int]:
        """Watch the directories that exist, and for each other one its nearest parent; return the former."""
        watches = {self._watch_one(directory) for directory in self._directories if self._descriptor >= 0}
        return watches - {-1}

    def _watch_one(self, directory: Path) -> int:
        parent: Path | None = None
        before: Path | None = directory
        # Until nothing comes while its parents are looked for.
        while (watch := self._add(directory, _EVENTS)) < 0 and parent != before:
            before = parent
            parent = next((each for each in directory.parents if self._add(each, _COMES | _IN_MASK_ADD) >= 0), None)
        return watch

    def _add(self, directory: Path, events: int) -> int:
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), events)
        return watch

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        before, self._watches = self._watches, self._watch()
        if self._watches - before or not before.isdisjoint(_watches_in(data)):
            self._changed.set()


def _watches_in(data: bytes) -> set[int]:
    """Return which watches have reported."""
    watches, position = set(), 0
    while position < len(data):
        watch, _, _, length = _EVENT.unpack_from(data, position)
        watches.add(watch)
        position += _EVENT.size + length
    return watches
