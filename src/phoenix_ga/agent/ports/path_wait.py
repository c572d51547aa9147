"""Waiting for a path that can't be opened now: asleep, until the kernel tells of a change."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.core.loop import Loop


class PathWait:
    """Calls `changed` once, when something happened to `path` after which opening it may succeed.

    That is: it, or a directory on the way to it, came to be, or changed its permissions. With
    `busy`, also: somebody who had it open closed it. Raises OSError or ImportError where the kernel
    can't tell, or there is no file descriptor left.
    """

    def __init__(self, loop: Loop, path: str, changed: Callable[[], None], busy: bool = False) -> None:
        # A path that is there from the start never costs the memory of this module.
        from phoenix_ga.agent.linux import inotify

        self._loop = loop
        self._changed = changed
        self._fd = inotify.inotify_init()
        appears = inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_ATTRIB
        leaves = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF
        # Only then: opening a path in vain may itself close it again, and would be heard here.
        closed = inotify.IN_CLOSE_WRITE | inotify.IN_CLOSE_NOWRITE if busy else 0
        # Paths of the agent's own options are in the encoding of its command line.
        inotify.inotify_add_watch(self._fd, os.fsencode(path), closed | inotify.IN_ATTRIB)
        wanted = os.fsencode(os.path.dirname(os.path.abspath(path)))
        deepest = b""
        # Until twice the same is found: a directory may come to be before the one above it is watched.
        while True:
            directory = wanted
            while not inotify.inotify_add_watch(self._fd, directory, appears | leaves | inotify.IN_ONLYDIR):
                if directory == b"/":
                    break
                directory = os.path.dirname(directory)
            if directory == deepest:
                break
            deepest = directory
        loop.watch(self._fd, self._happened)

    def cancel(self) -> None:
        """Wait no longer."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _happened(self, events: int) -> None:
        self.cancel()
        self._changed()
