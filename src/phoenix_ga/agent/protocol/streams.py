"""The streams of one client: frames to and from the endpoints in the guest, and who sends when.

Answers go before bulk data: a frame is given to the channel only when nothing else waits there, and
streams that have something to send take turns.
"""

from __future__ import annotations

from errno import EAGAIN, EIO, EPROTO
from time import monotonic

from phoenix_ga.agent.core.channel import WRITE_PIECE
from phoenix_ga.agent.core.throttle import in_a_hurry
from phoenix_ga.wire.frames import HEADER_SIZE
from phoenix_ga.wire.streams import Credit, Data, End, Reset, Skip, Stream, StreamViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final, Union

    from phoenix_ga.agent.core.channel import Channel
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.wire.units import Frame

    Piece = Union[bytes, memoryview, Skip]
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# An answer waits for one frame at most; but each frame costs as much Python, whatever its size. With
# its header, it fills the pieces that the kernel takes.
FRAME_SIZE: Final = 4 * WRITE_PIECE - HEADER_SIZE
# What of a frame goes out with its header: a header alone would cost as much as a piece. Where streams give way
# a frame has no more, for an answer waits until the client has read it, too.
_HEAD: Final = WRITE_PIECE - HEADER_SIZE
# Then they send for so long, and rest for as long as the loop can measure, in seconds.
_BURST: Final = 0.0004
_REST: Final = 0.001
# What all streams of a client may keep in memory, in bytes.
_WINDOWS_MAX: Final = 64 * 1024 * 1024


class Endpoint:
    """What is at the guest's end of a stream. All methods are called on the loop, and never wait.

    window: how many bytes from the host it has room for; 0: it takes none. sends: it has bytes for
    the host. skips: it knows what to do with a Skip.
    """

    window = 0
    sends = True
    skips = False

    def start(self, stream: OpenStream) -> None:
        """Begin; `stream` is where to report to."""

    def pull(self, size: int) -> Piece:
        """Return at most `size` bytes to be sent. None of them: `stream.ready` will be called."""
        return b""

    def received(self, piece: Data | Skip) -> None:
        """Take what came, and tell `stream.consumed` when it takes no room any more."""

    def ended(self, message: dict[str, Any]) -> None:
        """The host sends no more."""

    def closed(self, loop: Loop, workers: Workers) -> None:
        """The stream is over, or the client is gone: let go of everything.

        Called once, and without `start` before where the client went too early.
        """


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
        """Let the endpoint begin. To be called when the answer that names the stream was sent."""
        self._streams.guarded(self, self.endpoint.start, self)

    def watch(self, fd: int, callback: Callable[[int], None], events: int) -> None:
        """Call back as `Loop.watch` does; what goes wrong in it ends the stream, and not the agent."""
        self.loop.watch(fd, lambda happened: self._streams.guarded(self, callback, happened), events)

    def ready(self) -> None:
        """There is something to pull."""
        self._streams.ready(self)

    def consumed(self, size: int) -> None:
        """So many received bytes take no room any more."""
        self._streams.send(self.stream.consumed(size))

    def open_another(self, endpoint: Endpoint, credit: int) -> OpenStream:
        """Give an endpoint a stream of the same client. Raises OSError (EAGAIN) where there are too many."""
        return self._streams.open(endpoint, credit)

    def finish(self, message: dict[str, Any], both: bool = False) -> None:
        """All that was to be pulled has been: end this direction, or both."""
        if self.stream.sending:
            self._streams.send(self.stream.end(message))
            if both:
                self.stream.receiving = False
            self._streams.close_if_over(self)

    def fail(self, text: str, code: int) -> None:
        """End the stream in both directions, and say why."""
        self._streams.reset(self, text, code)


class Streams:
    """All streams of one client. number: gives each a number of its own. pumping: a frame is being sent."""

    def __init__(self, loop: Loop, workers: Workers, channel: Channel, limit: int, number: Callable[[], int]) -> None:
        self.loop = loop
        self.workers = workers
        self._channel = channel
        self._limit = limit
        self._number = number
        self._open: dict[int, OpenStream] = {}
        self._ready: deque[OpenStream] = deque()
        self._windows = 0
        self.pumping = False
        self._scheduled = False
        # How long streams have been sending since they rested last, in seconds.
        self._worked = 0.0
        self._resting = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, endpoint: Endpoint, credit: int) -> OpenStream:
        """Give the endpoint a stream; it is not started yet.

        credit: how many bytes may be sent at first. Raises OSError (EAGAIN) where there are too many;
        the endpoint is closed then.
        """
        try:
            if len(self._open) >= self._limit:
                raise OSError(EAGAIN, f"{self._limit} streams are open, which is the limit; end some")
            if self._windows + endpoint.window > _WINDOWS_MAX:
                raise OSError(EAGAIN, f"the open streams may take {_WINDOWS_MAX} bytes of memory; end some")
        except OSError:
            endpoint.closed(self.loop, self.workers)
            raise
        stream = Stream(
            self._number(), credit=credit, window=endpoint.window, sends=endpoint.sends, skips=endpoint.skips
        )
        opened = OpenStream(self, stream, endpoint)
        self._open[stream.id] = opened
        self._windows += endpoint.window
        return opened

    def open_all(self, endpoints: dict[str, Endpoint], credit: int) -> dict[str, OpenStream]:
        """Give each endpoint a stream, or none of them. Raises OSError (EAGAIN)."""
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

    def receive(self, frame: Frame) -> None:
        """Give a frame to its stream. One of a stream that is over may have been on its way: it is dropped."""
        opened = self._open.get(frame.stream)
        if opened is None:
            return
        try:
            event = opened.stream.receive(frame)
        except StreamViolation as error:
            self.reset(opened, f"protocol violation: {error}", EPROTO)
            return
        if isinstance(event, (Data, Skip)):
            self.guarded(opened, opened.endpoint.received, event)
        elif isinstance(event, Credit):
            self.ready(opened)
        elif isinstance(event, End):
            self.guarded(opened, opened.endpoint.ended, event.message)
            self.close_if_over(opened)
        elif isinstance(event, Reset):
            self._close(opened)

    def send(self, data: bytes) -> None:
        """Send a frame that carries no bulk data."""
        if data:
            self._channel.send([data])

    def ready(self, opened: OpenStream) -> None:
        """A stream may have something to send."""
        if not opened.queued and opened.stream.sending and opened.stream.id in self._open:
            opened.queued = True
            self._ready.append(opened)
            self._pump_soon()

    def pump(self) -> None:
        """Send what there is to send, while the channel takes it."""
        # What goes out at once makes room, and would call this from within itself.
        if self.pumping:
            return
        self.pumping = True
        try:
            # One at a time: then whoever else is there has a turn, above all requests that came meanwhile.
            if self._ready and not self._channel.output_size and not self._resting:
                opened = self._ready.popleft()
                if in_a_hurry():
                    begun = monotonic()
                    self._send_one(opened, _HEAD)
                    self._rest_after(monotonic() - begun)
                else:
                    self._send_one(opened, FRAME_SIZE)
        finally:
            self.pumping = False
        if self._ready and not self._channel.output_size and not self._resting:
            self._pump_soon()

    def _rest_after(self, seconds: float) -> None:
        """Rest, where so much work makes up a burst."""
        self._worked += seconds
        if self._worked >= _BURST:
            self._worked = 0.0
            self._resting = True
            self.loop.call_later(_REST, self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        self.pump()

    def reset(self, opened: OpenStream, text: str, code: int) -> None:
        """End a stream in both directions, and say why."""
        if opened.stream.id in self._open:
            self.send(opened.stream.reset(text, code))
            self._close(opened)

    def close_if_over(self, opened: OpenStream) -> None:
        """Let go of a stream that has ended in both directions."""
        if opened.stream.over:
            self._close(opened)

    def close(self) -> None:
        """The client is gone: all streams are over, and nobody is told."""
        self._ready.clear()
        for opened in list(self._open.values()):
            self._close(opened)

    def guarded(self, opened: OpenStream, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a call of an endpoint returns; where it raises, end that stream and nothing else."""
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
        # Without credit, it comes again when some is granted.
        if not stream.sending or not stream.credit:
            return
        piece = self.guarded(opened, opened.endpoint.pull, min(stream.credit, size))
        if isinstance(piece, Skip):
            self.send(stream.skip(piece.length))
        elif piece:
            view = memoryview(piece)
            self._channel.send([b"".join((stream.data_header(len(view)), view[:_HEAD])), view[_HEAD:]])
        else:
            return
        self.ready(opened)

    def _close(self, opened: OpenStream) -> None:
        if self._open.pop(opened.stream.id, None) is not None:
            self._windows -= opened.endpoint.window
            opened.stream.sending = opened.stream.receiving = False
            self.guarded(opened, opened.endpoint.closed, self.loop, self.workers)
