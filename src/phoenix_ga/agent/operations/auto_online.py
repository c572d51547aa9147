"""Taking processors and memory online that are added to the running guest."""

from __future__ import annotations

from _thread import allocate_lock
from errno import EBUSY
from time import sleep

from phoenix_ga.agent.core.log import NOTICE
from phoenix_ga.agent.operations.events.devices import Uevents
from phoenix_ga.agent.operations.processors import memory_blocks, processors, set_memory_block, set_processor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.core.log import Log
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.operations.processors import Part

# Seconds between attempts, twice as long each time: ten seconds in all.
_PAUSE: Final = 0.02
_PAUSE_MAX: Final = 10.0


class AutoOnline:
    """Watches the kernel's announcements of devices.

    They only say when to look: what exists and did not before is taken online. So what an administrator took offline
    stays so, and it does not matter if the kernel drops announcements.

    Args:
        submit: Runs a function on a worker.
        root: A prefix of the paths of sysfs, for tests.

    Raises:
        OSError: The kernel's announcements cannot be read.
    """

    def __init__(self, loop: Loop, submit: Callable[[Callable[[], None]], None], log: Log, root: str = "") -> None:
        self._loop = loop
        self._submit = submit
        self._log = log
        self._root = root
        self._closed = False
        self._uevents = Uevents()
        # Those that come from now on are announced.
        self._known = set(self._parts())
        self._lock = allocate_lock()
        loop.watch(self._uevents.fd, self._announced, self._uevents.events)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        self._loop.unwatch(self._uevents.fd)
        self._uevents.close()

    def _announced(self, events: int) -> None:
        items, more = self._uevents.read()
        if more:
            self._loop.call_soon(self._read_more)
        if self._uevents.lost or any(each.get("SUBSYSTEM") in ("cpu", "memory") for each in items):
            self._uevents.lost = False
            try:
                self._submit(self._look)
            except OSError as error:
                self._log.write(NOTICE, f"auto-online: {error.strerror}")

    def _read_more(self) -> None:
        # It may have been closed meanwhile.
        if not self._closed:
            self._announced(0)

    def _look(self) -> None:
        """Take online what is new. On a worker."""
        with self._lock:
            found = self._parts()
            new = [key for key in found if key not in self._known]
            self._known = set(found)
            for key in new:
                if not found[key].online:
                    self._set_online(*key)

    def _parts(self) -> dict[tuple[str, int], Part]:
        try:
            found = {("processor", part.number): part for part in processors(self._root)}
        except OSError:
            found = {}
        found.update((("memory block", part.number), part) for part in memory_blocks(self._root))
        return found

    def _set_online(self, kind: str, number: int) -> None:
        pause = _PAUSE
        while True:
            try:
                (set_processor if kind == "processor" else set_memory_block)(number, True, self._root)
            except OSError as error:
                # The kernel announces a processor before it is done with adding it.
                if error.errno == EBUSY and pause < _PAUSE_MAX:
                    sleep(pause)
                    pause *= 2
                    continue
                self._log.write(NOTICE, f"auto-online: {kind} {number} stays offline: {error.strerror}")
            else:
                self._log.write(NOTICE, f"auto-online: {kind} {number} is online")
            return
