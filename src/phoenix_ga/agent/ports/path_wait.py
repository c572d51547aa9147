"""Wait, without polling, for a path that cannot be opened now."""

from __future__ import annotations

import os
from errno import ENOSPC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.core.loop import Loop


class PathWait:
    """Calls `changed` once, when `path` can perhaps be opened.

    That is when the path, or a directory on the way to it, appears or changes its permissions.

    Args:
        busy: Wait also until a process that has the path open closes it.

    Raises:
        OSError: The kernel has no inotify instance or watch left, or the agent no file descriptor.
        ImportError: This Python cannot call the C library.
    """

    def __init__(self, loop: Loop, path: str, changed: Callable[[], None], busy: bool = False) -> None:
        # An agent whose path is there from the start does not need the memory for this module.
        from phoenix_ga.agent.linux import inotify

        self._loop = loop
        self._changed = changed
        self._fd = inotify.inotify_init()
        appears = inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_ATTRIB
        leaves = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF
        # Only then: a failed attempt to open the path may itself close it, which would be reported here.
        closed = inotify.IN_CLOSE_WRITE | inotify.IN_CLOSE_NOWRITE if busy else 0
        inotify.inotify_add_watch(self._fd, os.fsencode(path), closed | inotify.IN_ATTRIB)
        wanted = os.fsencode(os.path.dirname(os.path.abspath(path)))
        deepest = b""
        # Until the same one is found twice: a directory may appear before the one above it is watched.
        try:
            while True:
                directory = wanted
                while not self._watch_directory(directory, appears | leaves):
                    directory = os.path.dirname(directory)
                if directory == deepest:
                    break
                deepest = directory
            loop.watch(self._fd, self._happened)
        except BaseException:
            os.close(self._fd)
            raise

    def _watch_directory(self, directory: bytes, events: int) -> bool:
        """Watch a directory, and return whether it exists."""
        from phoenix_ga.agent.linux.inotify import IN_ONLYDIR, inotify_add_watch

        for _ in range(2):
            if inotify_add_watch(self._fd, directory, events | IN_ONLYDIR):
                return True
            if not os.path.isdir(directory):
                return False
            # It may have appeared just now.
        raise OSError(ENOSPC, "the kernel has no inotify watch left (fs.inotify.max_user_watches)")

    def fileno(self) -> int:
        """Return the file descriptor that reports a change."""
        return self._fd

    def cancel(self) -> None:
        """Stop waiting."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _happened(self, events: int) -> None:
        self.cancel()
        self._changed()
