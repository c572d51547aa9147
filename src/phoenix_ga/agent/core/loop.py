"""The event loop, on one thread, which never blocks but in epoll_wait(2)."""

from __future__ import annotations

import errno
import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final
else:
    # The modules `signal` and `collections` would load much that is not needed here.
    import _signal
    from _collections import deque

SIGHUP: Final[int] = _signal.SIGHUP
SIGINT: Final[int] = _signal.SIGINT
SIGKILL: Final[int] = _signal.SIGKILL
SIGTERM: Final[int] = _signal.SIGTERM
SIGCHLD: Final[int] = _signal.SIGCHLD

# Events fetched at once. Each takes memory, and there is seldom more than one.
_EVENTS_MAX: Final = 64
# Edge-triggered events. A hang-up is always reported.
READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
WRITABLE: Final = select.EPOLLOUT | select.EPOLLET


class Timer:
    """A call at a certain time, unless it is cancelled."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """Calls back on events of file descriptors, threads, signals and the clock.

    File descriptors are watched edge-triggered: a callback must read and write until EAGAIN, or
    remember that it did not. Nothing is polled: an idle loop wakes up once, to report that it is
    idle, and then never.

    Attributes:
        idle_time: Seconds without an event, and without anything due, after which `idle` is called; 0 for never.
        idle: Called once, until there is an event again.
    """

    def __init__(self) -> None:
        self.idle_time = 0.0
        self.idle: Callable[[], None] = lambda: None
        self._idle_reported = False
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        # Descriptors unwatched since the current events were fetched: their numbers may be reused by now.
        self._stale: set[int] = set()
        self._soon: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._from_threads: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[Timer] = []
        self._signals: dict[int, list[Callable[[], None]]] = {}
        self._running = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, self._woken)
        # Events that `has_pending` has fetched. It must not only ask for them by poll(2) of the epoll descriptor:
        # some files, such as /proc/self/mountinfo, report an event to the first who asks.
        self._fetched: list[tuple[int, int]] = []

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READABLE) -> None:
        """Call `callback` with the epoll events of `fd` whenever one of `events` begins, or is pending already."""
        self._epoll.register(fd, events)
        self._watched[fd] = callback

    def modify(self, fd: int, events: int) -> None:
        """Watch `fd` for other events."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`. Call this before closing it."""
        del self._watched[fd]
        self._stale.add(fd)
        self._fetched = [event for event in self._fetched if event[0] != fd]
        self._epoll.unregister(fd)

    @property
    def has_pending(self) -> bool:
        """Whether events or calls wait for the current callback to return. Timers do not count."""
        if not (self._soon or self._fetched):
            self._fetched = self._epoll.poll(0, _EVENTS_MAX)
        return bool(self._soon or self._fetched)

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back after the current events. For the loop's own thread."""
        self._soon.append((callback, arguments))

    def call_from_thread(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back on the loop's thread. For all other threads."""
        self._from_threads.append((callback, arguments))
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # A full pipe wakes the loop too.

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back in `seconds`, unless the timer is cancelled before."""
        timer = Timer(monotonic() + seconds, callback)
        self._timers.append(timer)
        self._timers.sort()
        return timer

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back on the loop's thread when the signal arrives, in addition to earlier callbacks."""
        callbacks = self._signals.setdefault(number, [])
        if callback in callbacks:
            return
        callbacks.append(callback)
        _signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # A handler must exist, but the wake-up pipe carries the number.
        _signal.signal(number, lambda number, frame: None)
        _signal.siginterrupt(number, False)

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            current = self._wait()
            self._stale.clear()
            for fd, events in current:
                if fd not in self._stale:
                    self._watched[fd](events)
            for _ in range(len(self._soon)):
                soon, arguments = self._soon.popleft()
                soon(*arguments)
            self._run_timers()

    @property
    def has_work(self) -> bool:
        """Whether something is due, or a signal or a thread has something for this thread."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        return bool(self._soon or self._fetched or self._from_threads or self._timers or poll.poll(0))

    def stop(self) -> None:
        """End `run` after the current events."""
        self._running = False

    def _wait(self) -> list[tuple[int, int]]:
        if self._fetched:
            events, self._fetched = self._fetched, []
            self._idle_reported = False
            return events
        timeout = -1.0
        may_idle = False
        if self._soon:
            timeout = 0.0
        elif self._timers:
            timeout = max(0.0, self._timers[0].due - monotonic())
        elif self.idle_time and not self._idle_reported:
            timeout, may_idle = self.idle_time, True
        try:
            events = self._epoll.poll(timeout, _EVENTS_MAX)
        except OSError as error:
            if error.errno != errno.EINTR:
                raise
            return []
        if events:
            self._idle_reported = False
        elif may_idle:
            self._idle_reported = True
            self.idle()
        return events

    def _run_timers(self) -> None:
        while self._timers and (self._timers[0].call is None or self._timers[0].due <= monotonic()):
            timer = self._timers.pop(0)
            if timer.call is not None:
                timer.call()

    def _woken(self, events: int) -> None:
        signals = bytearray()
        try:
            while True:
                signals += os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        for number in signals:
            for called in self._signals.get(number, ()):
                called()
        # Only what is queued now: a thread that keeps calling must not delay the ports.
        for _ in range(len(self._from_threads)):
            callback, arguments = self._from_threads.popleft()
            callback(*arguments)
