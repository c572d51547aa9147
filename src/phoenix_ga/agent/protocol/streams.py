"""The streams of one client: frames to and from endpoints.

Answers go before bulk data: the channel gets a frame only if its output is empty. Streams take turns.
"""

from __future__ import annotations

from errno import EAGAIN, EIO, EPROTO
from time import monotonic

from phoenix_ga.agent.core.channel import WRITE_PIECE
from phoenix_ga.agent.endpoints.endpoint import FRAME_SIZE
from phoenix_ga.wire.frames import HEADER_SIZE
from phoenix_ga.wire.streams import AGENT_STOPPING, Credit, Data, End, Reset, Skip, Stream, StreamViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.core.channel import Channel
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.throttle import Throttle
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Endpoint
    from phoenix_ga.wire.units import Frame
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# The payload that is sent in one piece with the header. While requests are active, a frame has no more payload,
# because an answer waits until the client has read the frame before it.
_HEAD: Final = WRITE_PIECE - HEADER_SIZE
# While requests are active, streams send for this long, and then pause, in seconds.
_BURST: Final = 0.0004
# Frames that are sent before the loop looks for timers, too.
_FRAMES_MAX: Final = 16
_PAUSE: Final = 0.001
# Memory that the windows of a client's streams may take, in bytes.
_WINDOWS_MAX: Final = 64 * 1024 * 1024


class OpenStream:
    """A stream of the agent's side, with its endpoint."""

    __slots__ = ("_streams", "endpoint", "queued", "stream")

    def __init__(self, streams: Streams, stream: Stream, endpoint: Endpoint) -> None:
        self._streams = streams
        self.stream = stream
        self.endpoint = endpoint
        self.queued = False

    @property
    def loop(self) -> Loop:
        """The loop that calls the endpoint."""
        return self._streams.loop

    @property
    def workers(self) -> Workers:
        """Threads for what may block."""
        return self._streams.workers

    def start(self) -> None:
        """Start the endpoint. Call this after sending the answer that names the stream."""
        self._streams.guarded(self, self.endpoint.start, self)

    def watch(self, fd: int, callback: Callable[[int], None], events: int) -> None:
        """Call back as `Loop.watch` does; an exception ends the stream and not the agent."""
        self.loop.watch(fd, lambda happened: self._streams.guarded(self, callback, happened), events)

    def ready(self) -> None:
        """The endpoint has something to pull."""
        self._streams.ready(self)

    def consumed(self, size: int) -> None:
        """`size` received bytes no longer take memory."""
        self._streams.send(self.stream.consumed(size))

    def open_another(self, endpoint: Endpoint, credit: int) -> OpenStream:
        """Open another stream of the same client.

        Raises:
            OSError: EAGAIN; too many streams are open.
        """
        return self._streams.open(endpoint, credit)

    def finish(self, message: dict[str, Any], both: bool = False) -> None:
        """All data was pulled: end this direction, or both."""
        if self.stream.sending:
            self._streams.send(self.stream.end(message))
            if both:
                self.stream.receiving = False
            self._streams.close_if_over(self)

    def fail(self, text: str, code: int) -> None:
        """End the stream in both directions with an error."""
        self._streams.reset(self, text, code)


class Streams:
    """All streams of one client.

    Args:
        limit: Maximum number of open streams.
        next_number: Returns an unused stream number.

    Attributes:
        pumping: A frame is being given to the channel.
    """

    def __init__(
        self,
        loop: Loop,
        workers: Workers,
        channel: Channel,
        throttle: Throttle,
        limit: int,
        next_number: Callable[[], int],
    ) -> None:
        self.loop = loop
        self.workers = workers
        self._channel = channel
        self._throttle = throttle
        self._limit = limit
        self._next_number = next_number
        self._open: dict[int, OpenStream] = {}
        self._ready: deque[OpenStream] = deque()
        self._windows = 0
        self.pumping = False
        self._scheduled = False
        # How long streams have been sending since their last pause, in seconds.
        self._sending_time = 0.0
        self._paused = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, endpoint: Endpoint, credit: int) -> OpenStream:
        """Open a stream for an endpoint, which is not started yet.

        Args:
            credit: Bytes that the stream may send at first.

        Raises:
            OSError: EAGAIN; too many streams are open. The endpoint is closed then.
        """
        if self._windows + endpoint.window > _WINDOWS_MAX // 2:
            endpoint.shrink_window()
        try:
            if len(self._open) >= self._limit:
                raise OSError(EAGAIN, f"{self._limit} streams are open, which is the limit; end some")
            if self._windows + endpoint.window > _WINDOWS_MAX:
                raise OSError(EAGAIN, f"the open streams may take {_WINDOWS_MAX} bytes of memory; end some")
        except OSError:
            endpoint.closed(self.loop, self.workers)
            raise
        stream = Stream(
            self._next_number(),
            credit=credit,
            window=endpoint.window,
            sends=endpoint.sends,
            skips=endpoint.skips,
        )
        opened = OpenStream(self, stream, endpoint)
        self._open[stream.id] = opened
        self._windows += endpoint.window
        return opened

    def open_all(self, endpoints: dict[str, Endpoint], credit: int) -> dict[str, OpenStream]:
        """Open a stream for each endpoint, or for none of them. Raises OSError (EAGAIN)."""
        opened: dict[str, OpenStream] = {}
        waiting = dict(endpoints)
        try:
            while waiting:
                name = next(iter(waiting))
                opened[name] = self.open(waiting.pop(name), credit)
        except OSError:
            for stream in opened.values():
                self._close(stream)
            for endpoint in waiting.values():
                endpoint.closed(self.loop, self.workers)
            raise
        return opened

    def receive(self, frame: Frame) -> bool:
        """Give a frame to its stream, and return whether there is one."""
        opened = self._open.get(frame.stream)
        if opened is None:
            return False
        try:
            event = opened.stream.receive(frame)
        except StreamViolation as error:
            self.reset(opened, f"protocol violation: {error}", EPROTO)
            return True
        if isinstance(event, (Data, Skip)):
            self.guarded(opened, opened.endpoint.received, event)
        elif isinstance(event, Credit):
            self.ready(opened)
        elif isinstance(event, End):
            self.guarded(opened, opened.endpoint.ended, event.message)
            self.close_if_over(opened)
        elif isinstance(event, Reset):
            self._close(opened)
        return True

    def send(self, data: bytes) -> None:
        """Send a frame that carries no bulk data."""
        if data:
            self._channel.send([data])

    def ready(self, opened: OpenStream) -> None:
        """The stream may have something to send."""
        if not opened.queued and opened.stream.sending and opened.stream.id in self._open:
            opened.queued = True
            self._ready.append(opened)
            self._pump_soon()

    def pump(self) -> None:
        """Send frames while the channel takes them, one from each stream in turn, and nothing else is to be done."""
        # A frame that is written at once calls this again.
        if self.pumping:
            return
        self.pumping = True
        try:
            # One frame at a time: requests that arrived meanwhile go first.
            for _ in range(_FRAMES_MAX):
                if not self._ready or self._channel.output_size or self._paused:
                    break
                opened = self._ready.popleft()
                if self._throttle.requests_active:
                    started = monotonic()
                    self._send_one(opened, _HEAD)
                    self._pause_after(monotonic() - started)
                    break
                self._send_one(opened, FRAME_SIZE)
                if self.loop.has_pending:
                    break
        finally:
            self.pumping = False
        if self._ready and not self._channel.output_size and not self._paused:
            self._pump_soon()

    def _pause_after(self, seconds: float) -> None:
        """Pause if the time spent sending makes up a burst."""
        self._sending_time += seconds
        if self._sending_time >= _BURST:
            self._sending_time = 0.0
            self._paused = True
            self.loop.call_later(_PAUSE, self._continue)

    def _continue(self) -> None:
        self._paused = False
        self.pump()

    def reset(self, opened: OpenStream, text: str, code: int) -> None:
        """End a stream in both directions, and say why."""
        if opened.stream.id in self._open:
            self.send(opened.stream.reset(text, code))
            self._close(opened)

    def reset_all(self, text: str) -> None:
        """End all streams, because the agent is stopping."""
        self._ready.clear()
        for opened in list(self._open.values()):
            self.reset(opened, text, AGENT_STOPPING)

    def withdraw(self, opened: OpenStream) -> None:
        """Close a stream of which the client was not told."""
        self._close(opened)

    def close_if_over(self, opened: OpenStream) -> None:
        """Close a stream that has ended in both directions."""
        if opened.stream.over:
            self._close(opened)

    def close(self) -> None:
        """The client has left: close all streams without sending frames."""
        self._ready.clear()
        for opened in list(self._open.values()):
            self._close(opened)

    def guarded(self, opened: OpenStream, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of an endpoint and return its result; an exception ends that stream and nothing else."""
        try:
            return call(*arguments)
        except Exception as error:
            self.reset(opened, f"internal error: {type(error).__name__}: {error}", EIO)
            return None

    def _pump_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._scheduled = False
        self.pump()

    def _send_one(self, opened: OpenStream, size: int) -> None:
        opened.queued = False
        stream = opened.stream
        # Without credit, the stream becomes ready again when some is granted.
        if not stream.sending or not stream.credit:
            return
        piece = self.guarded(opened, opened.endpoint.pull, min(stream.credit, size))
        if isinstance(piece, Skip):
            self.send(stream.skip(piece.length))
        elif not piece:
            return
        elif opened.endpoint.headed:
            view = memoryview(piece)
            view[:HEADER_SIZE] = stream.data_header(len(view) - HEADER_SIZE)
            self._channel.write([view[start : start + WRITE_PIECE] for start in range(0, len(view), WRITE_PIECE)])
        else:
            view = memoryview(piece)
            self._channel.send([b"".join((stream.data_header(len(view)), view[:_HEAD])), view[_HEAD:]])
        self.ready(opened)

    def _close(self, opened: OpenStream) -> None:
        if self._open.pop(opened.stream.id, None) is not None:
            self._windows -= opened.endpoint.window
            opened.stream.sending = opened.stream.receiving = False
            self.guarded(opened, opened.endpoint.closed, self.loop, self.workers)
