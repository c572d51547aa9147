"""The condition that a path exists, or does not: inotify(7) tells of the directories on the way."""

from __future__ import annotations

import os
from errno import ENOENT, ENOTDIR
from struct import Struct

from phoenix_ga.agent.linux import inotify
from phoenix_ga.agent.linux.mounts import read_mounts
from phoenix_ga.agent.linux.source import READS_MAX, Source
from phoenix_ga.agent.operations.files import encode_path
from phoenix_ga.agent.operations.waiting.condition import Condition, Facts, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_event: Final = Struct("iIII")
_READ_SIZE: Final = 32768
_SELF: Final = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF
_ENTRIES: Final = (
    inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_TO | inotify.IN_MOVED_FROM | inotify.IN_ATTRIB | _SELF
)
_ABSENT: Final = ",absent"
# Files of these filesystems appear without the kernel's telling: others change them, or the kernel makes them up.
_SILENT: Final = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "nfs", "nfs4", "smb3", "virtiofs"),
        *("cgroup", "cgroup2", "configfs", "debugfs", "proc", "sysfs", "tracefs"),
    )
)
PERIOD: Final = 2.0


class PathChanges(Source):
    """An inotify instance. Reads the numbers of the watches that reported something. Raises OSError (EMFILE)."""

    def __init__(self) -> None:
        super().__init__(inotify.inotify_init())

    def watch(self, path: bytes, entries: bool) -> int:
        """Watch a directory, and what is in it if `entries`; return the number of the watch, -1 if impossible."""
        mask = (_ENTRIES if entries else _SELF) | inotify.IN_MASK_ADD | inotify.IN_ONLYDIR
        return inotify.inotify_watch(self.fd, path, mask)

    def read(self) -> tuple[list[int], bool]:
        found: list[int] = []
        for _ in range(READS_MAX):
            try:
                data = os.read(self.fd, _READ_SIZE)
            except BlockingIOError:
                return found, False
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _event.unpack_from(data, offset)
                if mask & inotify.IN_Q_OVERFLOW:
                    self.lost = True
                if mask & inotify.IN_MOVE_SELF:
                    # The path leads elsewhere now.
                    inotify.inotify_unwatch(self.fd, watch)
                found.append(watch)
                offset += _event.size + length
        return found, True


class PathCondition(Condition):
    """A path exists: `path=PATH`; or it does not: `path=PATH,absent`. A symbolic link exists whatever its target.

    Attributes:
        watches: The numbers of the watches that concern it.
    """

    sources = ("paths", "mounts")

    def __init__(self, text: str, value: str) -> None:
        self._absent = value.endswith(_ABSENT)
        self._shown = value.removesuffix(_ABSENT)
        if not self._shown.startswith("/"):
            raise wrong(text, "the path must be absolute")
        self._path = encode_path(self._shown).rstrip(b"/") or b"/"
        self.changes: PathChanges | None = None
        self.watches: set[int] = set()

    def concerns(self, source: str, items: list[Any]) -> bool:
        return source != "paths" or not self.watches.isdisjoint(items)

    def check(self, facts: Facts) -> str | None:
        deepest = b""
        # Until the same directory is found twice: one may appear before the one above it is watched.
        while True:
            self.watches.clear()
            directory, complete = self._watch_directories()
            if self._is_fulfilled():
                return self._shown
            if directory == deepest:
                break
            deepest = directory
        try:
            number = os.stat(deepest).st_dev
        except OSError:
            # It has just vanished, which its watch reports.
            return None
        silent = any(mount.device == number and _is_silent(mount.type) for mount in facts.get(read_mounts))
        self.period = PERIOD if silent or not complete else 0.0
        return None

    def _is_fulfilled(self) -> bool:
        try:
            os.lstat(self._path)
        except OSError as error:
            # Other errors, such as EIO, say nothing about the path.
            return self._absent and error.errno in (ENOENT, ENOTDIR)
        return not self._absent

    def _watch_directories(self) -> tuple[bytes, bool]:
        """Watch the directories on the way; return the deepest, and whether all could be watched."""
        directory, deepest, complete = os.path.dirname(self._path), b"", True
        while True:
            if os.path.isdir(directory):
                watch = -1 if self.changes is None else self.changes.watch(directory, not deepest)
                if watch >= 0:
                    self.watches.add(watch)
                else:
                    complete = False
                deepest = deepest or directory
            if directory == b"/":
                return deepest, complete
            directory = os.path.dirname(directory)


def _is_silent(kind: str) -> bool:
    return kind in _SILENT or kind.startswith("fuse")
