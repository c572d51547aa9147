"""A session: the calls and streams of one client."""

from __future__ import annotations

import os

from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.agent.protocol.request_log import audit, log_request
from phoenix_ga.agent.protocol.scheduler import OUTPUT_HIGH, ClientQueue
from phoenix_ga.wire.frames import RESET, encode_header
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import encode_error_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.core.channel import Channel
    from phoenix_ga.agent.protocol.call import Call
    from phoenix_ga.agent.protocol.dialect import Pieces
    from phoenix_ga.agent.protocol.scheduler import Scheduler
    from phoenix_ga.agent.protocol.streams import Streams
    from phoenix_ga.wire.units import Frame

# Bytes of requests that are read from a client that does not read its answers: the `sync` of the next client
# may be among them.
_AHEAD_MAX: Final = 64 * 1024
# The payload of the RESET for a stream that does not exist. The code is `wire.streams.UNKNOWN_STREAM`, a module
# that the loop must not import.
_UNKNOWN: Final = encode_json(encode_error_value("unknown stream", 43))


class Session:
    """One client. Until `detach`, answers go to `channel`; after that, calls are run but not answered.

    Args:
        peer: The name of the port, for the log.
        proceed: Called when a call has finished, so that more can be read.

    Attributes:
        muted: Calls are run, but not answered.
        queue: Its unanswered calls.
        streams: Its streams, once it has opened some.
    """

    def __init__(self, scheduler: Scheduler, channel: Channel, peer: str, proceed: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._dispatcher = scheduler.dispatcher
        self._log = scheduler.dispatcher.context.log
        self._throttle = scheduler.dispatcher.context.throttle
        self._channel: Channel | None = channel
        self._peer = peer
        self._proceed = proceed
        self.streams: Streams | None = None
        # Bytes of requests read since the unread output reached its limit.
        self._ahead = 0
        self._number: int | None = None
        self.muted = False
        self.queue = ClientQueue(scheduler, self)

    @property
    def number(self) -> int:
        """What the client called the session in `sync`; random if it did not."""
        if self._number is None:
            self._number = int.from_bytes(os.urandom(6), "big")
        return self._number

    @number.setter
    def number(self, number: int) -> None:
        self._number = number

    @property
    def attached(self) -> bool:
        """Whether the client has not left."""
        return self._channel is not None

    @property
    def output_size(self) -> int:
        """Number of bytes that wait for the client to read."""
        return 0 if self._channel is None else self._channel.output_size

    @property
    def wants_more(self) -> bool:
        """Whether more requests should be read now."""
        channel = self._channel
        if channel is None or self._scheduler.stopping:
            return False
        if channel.output_size >= OUTPUT_HIGH and self._ahead >= _AHEAD_MAX:
            return False
        return self.queue.has_room

    def take(self, call: Call) -> None:
        """Run the call, at once if nothing is ahead of it and it cannot block, and send the answer."""
        dispatcher, queue, channel = self._dispatcher, self.queue, self._channel
        if self._log.debug:
            log_request(self._log, self._peer, call)
        call.peer = self._peer
        dispatcher.bind(call)
        is_ahead = channel is not None and channel.output_size >= OUTPUT_HIGH
        self._ahead = self._ahead + call.cost if is_ahead else 0
        command = call.command
        if command is not None and not ((queue.turn_taken or queue.waiting) and call.ordered):
            outcome = None
            if command.inline:
                outcome = dispatcher.run(call)
            elif command.nowait and queue.may_run_nowait(call):
                outcome = dispatcher.run_nowait(call)
            if outcome is not None:
                self.complete(call, outcome)
                return
        queue.add(call)

    def complete(self, call: Call, outcome: Pieces | Opened) -> None:
        """Answer a call that has run, or was refused."""
        if isinstance(outcome, Opened):
            self._open_streams(call, outcome)
        else:
            self.send(outcome)
            self._throttle.note_request()
        if call.command is not None and call.command.changes:
            audit(self._log, self._peer, call)

    def send(self, pieces: Pieces) -> None:
        """Send an answer."""
        if self._channel is not None and not self.muted:
            self._channel.send(pieces)

    def proceed(self) -> None:
        """A call has finished: more may be read."""
        if self._channel is not None:
            self._proceed()

    def detach(self) -> None:
        """The client has left: drop its answers from now on, and end its streams."""
        self._channel = None
        if self.streams is not None:
            self.streams.close()
        self.queue.detach()

    def receive_frame(self, frame: Frame) -> None:
        """Give a frame to its stream. If there is none, tell the client, which may wait for an earlier agent."""
        if self.streams is not None and self.streams.receive(frame):
            return
        # A RESET is never answered, or two sides could answer each other for ever. A client that does not read
        # gets no more.
        if frame.type != RESET and self.output_size < OUTPUT_HIGH:
            self.send([encode_header(RESET, frame.stream, len(_UNKNOWN)), _UNKNOWN])

    def end_streams(self) -> None:
        """Reset all streams, because the agent is about to end or to stop serving the port."""
        if self.streams is not None:
            self.streams.reset_all("the agent is stopping")

    @property
    def known_number(self) -> int | None:
        """The number of the session, or None if no client has given it or asked for it."""
        return self._number

    def _open_streams(self, call: Call, opened: Opened) -> None:
        scheduler = self._scheduler
        if self._channel is None or self.muted:
            for endpoint in opened.endpoints.values():
                endpoint.closed(scheduler.loop, scheduler.workers)
            return
        if self.streams is None:
            # Imported already, by the handler that made the endpoints.
            from phoenix_ga.agent.protocol.streams import Streams

            context = self._dispatcher.context
            limit = context.config.max_streams
            self.streams = Streams(
                scheduler.loop, scheduler.workers, self._channel, self._throttle, limit, context.next_stream
            )
        try:
            streams = self.streams.open_all(opened.endpoints, opened.credit)
        except OSError as error:
            self.send(self._dispatcher.refuse(call, error))
            return
        answer = {**opened.answer, **{name: stream.stream.id for name, stream in streams.items()}}
        if "window" in answer:
            # Now it is known; it is smaller if there are many streams.
            answer["window"] = opened.endpoints["stream"].window
        try:
            pieces = self._dispatcher.encode(call, answer)
        except Exception as error:
            # A tag may be nested just so deeply that it could be read, but cannot be written.
            for stream in streams.values():
                self.streams.withdraw(stream)
            self.send(self._dispatcher.refuse(call, error))
            return
        self.send(pieces)
        for stream in streams.values():
            stream.start()
