"""A conversation with one client: which of its requests runs when, and who gets the answers."""

from __future__ import annotations

from errno import EAGAIN
from time import monotonic

from phoenix_ga.agent.core.throttle import hurry
from phoenix_ga.agent.protocol.dialect import CommandError
from phoenix_ga.agent.protocol.dispatch import TOTAL_COST_MAX, Call, Opened
from phoenix_ga.agent.protocol.lines import LineReader
from phoenix_ga.wire.messages import Request
from phoenix_ga.wire.units import RESET_BYTE, Damage, Frame, Line, Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.core.channel import Channel
    from phoenix_ga.agent.core.loop import Loop, Timer
    from phoenix_ga.agent.protocol.dispatch import Dispatcher
    from phoenix_ga.agent.protocol.streams import Streams
    from phoenix_ga.wire.units import Unit
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# What the kernel calls the port of the QEMU Guest Agent.
_QGA_PORT: Final = "org.qemu.guest_agent"
_DELIMITED_SYNC: Final = "guest-sync-delimited"
_GUEST_SYNCS: Final = ("guest-sync", _DELIMITED_SYNC)
# How much later than a client's first bytes the kernel may tell that it is there, in seconds.
ARRIVAL_TIME: Final = 0.25
# More output than this waits for the client before more requests are run, or read but for a few: it may be
# another client by now, whose `sync` should be seen.
_OUTPUT_HIGH: Final = 1024 * 1024
_AHEAD_MAX: Final = 64 * 1024
# What requests of one client that are not answered yet may cost, in bytes.
_SESSION_COST_MAX: Final = 16 * 1024 * 1024
# What the shortest request takes in memory, in bytes.
_CALL_COST: Final = 1024
# A client that asks for more has to wait, unless nothing was answered for so long, in seconds: then
# what is too much is refused, so that the requests behind it are seen, above all `sync`.
_STUCK_TIME: Final = 2.0


class Session:
    """The requests of one client.

    Requests with a tag run side by side. Those without run one after the other, and an error among
    them is answered in its turn. Answers go to `channel`, until `detach`: what was asked is still done
    then, but nobody is told; where it is `muted`, nobody is told from the start. advanced: is called
    when a command is finished, so that more can be read.

    finished: how many commands are. stuck: none was for a long time, while it was full by itself.
    """

    def __init__(
        self, loop: Loop, dispatcher: Dispatcher, channel: Channel, peer: str, advanced: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._channel: Channel | None = channel
        self.peer = peer
        self._advanced = advanced
        self.muted = False
        self.stuck = False
        self.finished = 0
        self._waiting: deque[Call] = deque()
        self._cost = 0
        self._turn_taken = False
        # Calls that wait until the client has read answers, or until some are finished.
        self._held: deque[Call] = deque()
        self._launched = 0
        # The cost of what was read since so much output waits.
        self._ahead = 0
        # Calls that were begun and wait for others on their handle.
        self._parked: set[Call] = set()
        self._streams: Streams | None = None

    @property
    def busy(self) -> bool:
        """Whether answers are due."""
        return bool(self._cost)

    @property
    def full(self) -> bool:
        """Whether no more requests can be kept."""
        return self._exceeds(1)

    @property
    def full_by_itself(self) -> bool:
        """Whether that is due to requests of this client alone."""
        return self._cost >= _SESSION_COST_MAX

    @property
    def refusing(self) -> bool:
        """Whether what can't be kept is refused, instead of being left in the channel."""
        return self.stuck or self._dispatcher.stuck

    @property
    def wants_more(self) -> bool:
        """Whether more requests should be read now."""
        channel = self._channel
        if channel is None or self._dispatcher.stopping:
            return False
        if channel.output_size >= _OUTPUT_HIGH and self._ahead >= _AHEAD_MAX:
            return False
        # Refusals that wait for their turn take memory as well, unless nobody is told.
        return self.muted or not self.full or (self.refusing and not self._exceeds(2))

    def detach(self) -> None:
        """Forget the client; its answers are dropped from now on.

        What it asked for is done all the same, unless clients that left have asked for too much.
        """
        self._channel = None
        if self._streams is not None:
            self._streams.close()
        if self._dispatcher.unanswered >= TOTAL_COST_MAX // 2:
            self._drop_what_waits()
        self.release()

    def take_frame(self, frame: Frame) -> None:
        """Give a frame to its stream."""
        if self._streams is not None:
            self._streams.receive(frame)

    @property
    def pumping(self) -> bool:
        """Whether the streams are sending."""
        return self._streams is not None and self._streams.pumping

    def pump(self) -> None:
        """The channel has room: let the streams send."""
        if self._streams is not None:
            self._streams.pump()

    def take(self, call: Call) -> None:
        """Run the call in its turn, and send the answer."""
        self._dispatcher.log_call(call, self.peer)
        self._dispatcher.bind(call)
        is_ahead = self._channel is not None and self._channel.output_size >= _OUTPUT_HIGH
        self._ahead = self._ahead + call.size + _CALL_COST if is_ahead else 0
        if self._answers_at_once(call):
            return
        if self.full and self._must_wait(call):
            self._refuse(call)
            return
        self._count(call.size + _CALL_COST)
        self._dispatcher.line_up(call)
        if call.ordered:
            self._waiting.append(call)
            self._advance()
        else:
            self._begin(call)

    def _answers_at_once(self, call: Call) -> bool:
        """Answer a call that nothing is ahead of, where it need not wait for anything; tell whether it was so."""
        command = call.command
        if command is None or ((self._turn_taken or self._waiting) and call.ordered):
            return False
        if not command.inline and (not command.at_once or self._held or not self._may_launch()):
            return False
        pieces = self._dispatcher.run_at_once(call, self.peer)
        if pieces is None:
            return False
        self._send(pieces)
        hurry()
        return True

    def release(self) -> None:
        """Go on with calls that were held back."""
        while self._held and self._may_launch():
            self._launch(self._held.popleft())

    def give_back(self, first: Call) -> list[Call]:
        """Forget the calls that wait for their turn, from `first` on, and return them."""
        if first not in self._waiting:
            return []
        calls = [*self._waiting][self._waiting.index(first) :]
        for call in calls:
            self._waiting.remove(call)
            self._count(-call.size - _CALL_COST)
            self._dispatcher.step_out(call)
        return calls

    def _drop_what_waits(self) -> None:
        begun = [*self._held, *self._parked]
        self._held.clear()
        self._parked.clear()
        for call in begun:
            call.first = None
        for call in begun:
            self._count(-call.size - _CALL_COST)
            self._dispatcher.withdraw(call)
        while self._waiting:
            call = self._waiting.popleft()
            self._count(-call.size - _CALL_COST)
            self._dispatcher.step_out(call)

    def _exceeds(self, times: int) -> bool:
        return self._cost >= times * _SESSION_COST_MAX or self._dispatcher.unanswered >= times * TOTAL_COST_MAX

    def _must_wait(self, call: Call) -> bool:
        if call.ordered and (self._turn_taken or self._waiting):
            return True
        return call.command is not None and not (call.command.inline or call.command.urgent)

    def _refuse(self, call: Call) -> None:
        """Refuse a call that can't be kept; nobody is told where nobody listens."""
        if self.muted:
            return
        # With its tag, and nothing else that takes memory.
        request = Request("", {}, call.tag)
        error = CommandError("too many requests wait for commands that are stuck; ask for less at once", EAGAIN)
        refused = Call(request, 0, error, call.dialect)
        if call.ordered:
            self._count(_CALL_COST)
            self._waiting.append(refused)
            self._advance()
        else:
            self._send([self._dispatcher.refuse(refused, error)])

    def _count(self, cost: int) -> None:
        self._cost += cost
        self.stuck = self.stuck and self.full_by_itself
        self._dispatcher.count(cost)

    def _advance(self) -> None:
        while self._waiting and not self._turn_taken:
            self._begin(self._waiting.popleft())

    def _begin(self, call: Call) -> None:
        try:
            self._dispatcher.check(call)
            assert call.command is not None
            if call.command.inline:
                self._answer(call, self._dispatcher.run_inline(call, self.peer))
                return
            self._dispatcher.admit(call)
        except Exception as error:
            self._answer(call, [self._dispatcher.refuse(call, error)])
            self._dispatcher.step_out(call)
            return
        self._turn_taken |= call.ordered
        self._parked.add(call)
        self._dispatcher.when_first(call, lambda: self._launch_or_hold(call))

    def _launch_or_hold(self, call: Call) -> None:
        assert call.command is not None
        self._parked.discard(call)
        if call.command.urgent or (not self._held and self._may_launch()):
            self._launch(call)
        else:
            self._held.append(call)

    def _may_launch(self) -> bool:
        if self._channel is None:
            return True
        limit = self._dispatcher.context.config.max_workers
        return self._launched < limit and self._channel.output_size < _OUTPUT_HIGH

    def _launch(self, call: Call) -> None:
        def finished(outcome: list[bytes | bytearray | memoryview] | Opened) -> None:
            self._launched -= 1
            self.finished += 1
            self.stuck = False
            if isinstance(outcome, Opened):
                self._open_streams(call, outcome)
            else:
                self._answer(call, outcome)
                hurry()
            if call.ordered:
                self._turn_taken = False
                self._advance()
            self.release()
            if self._channel is not None:
                self._advanced()

        self._launched += 1
        self._dispatcher.run(call, self.peer, finished)

    def _open_streams(self, call: Call, opened: Opened) -> None:
        dispatcher = self._dispatcher
        if self._channel is None or self.muted:
            for endpoint in opened.endpoints.values():
                endpoint.closed(self._loop, dispatcher.workers)
            self._answer(call, [])
            return
        if self._streams is None:
            # Whoever made the endpoints has loaded it already.
            from phoenix_ga.agent.protocol.streams import Streams

            limit = dispatcher.context.config.max_streams
            self._streams = Streams(self._loop, dispatcher.workers, self._channel, limit, dispatcher.next_stream)
        try:
            streams = self._streams.open_all(opened.endpoints, opened.credit)
        except OSError as error:
            self._answer(call, [dispatcher.refuse(call, error)])
            return
        numbers = {name: stream.stream.id for name, stream in streams.items()}
        self._answer(call, dispatcher.encode_return({**opened.answer, **numbers}, call))
        for stream in streams.values():
            stream.start()

    def _answer(self, call: Call, pieces: list[bytes | bytearray | memoryview]) -> None:
        self._count(-call.size - _CALL_COST)
        self._send(pieces)

    def _send(self, pieces: list[bytes | bytearray | memoryview]) -> None:
        if self._channel is not None and not self.muted:
            self._channel.send(pieces)


class Conversation:
    """What is received on one channel, and the session of whoever is sending it.

    A port outlives its clients, and it is not always seen when one goes and the next comes: the
    kernel hands out bytes at once, but tells of clients from a work queue. So the first bytes of a
    client may be read while the one before still seems to be there, or nobody. `sync` begins a new
    session, and so does `leave`; `hang_up` also forgets the half of a request. What could be read at
    once when the client had left is its own, up to a `sync`: done, but not answered.
    """

    def __init__(
        self, loop: Loop, dispatcher: Dispatcher, channel: Channel, peer: str, settled: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._channel = channel
        self._peer = peer
        self._settled = settled
        self._stuck: Timer | None = None
        self._late_look: Timer | None = None
        self._parser = Parser(dispatcher.context.config.line_limit)
        self._reader = LineReader(
            dispatcher.load_qga, dispatcher.context.config.speaks_qga_first or _QGA_PORT in peer
        )
        self._guest_sync: Call | None = None
        self._session = Session(loop, dispatcher, channel, peer, self._serve)
        self._synced_at = 0.0
        self._exhausted_before = 0
        self._serving = False

    @property
    def busy(self) -> bool:
        """Whether answers are due or on their way."""
        return self._session.busy or self._channel.output_size > 0

    @property
    def unfinished(self) -> bool:
        """Whether answers are due, or half of a request is there."""
        return self.busy or self._parser.pending > 0

    def received(self, data: memoryview) -> None:
        """Take what came."""
        if self._session.muted and self._channel.exhausted != self._exhausted_before:
            self._renew()
        # Most clients send a line and wait for the answer.
        call = self._whole_call(data)
        if call is not None:
            self._take_call(call)
            self._parser.spans_lines = self._reader.spans_lines
            return
        self._parser.receive(data)
        self._serve()
        self._parser.hold()

    def drained(self) -> None:
        """Go on, since there is room for answers again."""
        # A frame that goes out at once leaves things as they were.
        if self._session.pumping:
            return
        self._session.release()
        self._session.pump()
        # All that came has been taken, unless there was no room.
        if self._channel.paused:
            self._serve()
        self._tell_if_settled()

    def leave(self) -> None:
        """The client was seen to go: drop its answers, and those to what it sent before."""
        if monotonic() - self._synced_at <= ARRIVAL_TIME:
            # It may be the one before who said `sync` that went.
            self._hand_over()
            if self._late_look is None:
                self._late_look = self._loop.call_later(2 * ARRIVAL_TIME, self._leave_unless_connected)
            return
        self._renew()
        self._session.muted = True
        self._exhausted_before = self._channel.exhausted
        # The session before may have been waiting for its client to read.
        self._serve()
        self._tell_if_settled()

    def hang_up(self) -> None:
        """Nobody is there: drop the answers, and the half of a request."""
        for timer in (self._stuck, self._late_look):
            if timer is not None:
                timer.cancel()
        self._stuck = self._late_look = None
        self._parser.reset()
        self._renew()
        self._serve()
        self._tell_if_settled()

    def _hand_over(self) -> None:
        """Give a new session what was asked since the last `guest-sync`, where that waits for earlier commands."""
        calls = self._session.give_back(self._guest_sync) if self._guest_sync is not None else []
        if calls:
            self._renew()
            for call in calls:
                self._session.take(call)

    def _leave_unless_connected(self) -> None:
        self._late_look = None
        self._channel.look()
        if not self._channel.connected:
            self.leave()

    def _tell_if_settled(self) -> None:
        if not self.busy:
            self._settled()

    def _renew(self) -> None:
        self._session.detach()
        self._channel.drop_output()
        self._parser.line_limit = self._dispatcher.context.config.line_limit
        self._guest_sync = None
        self._session = Session(self._loop, self._dispatcher, self._channel, self._peer, self._serve)

    def _serve(self) -> None:
        # An answer that goes out at once makes room, and would call this from within itself.
        if self._serving:
            return
        self._serving = True
        try:
            while self._session.wants_more:
                unit = self._parser.next_unit()
                if unit is None:
                    self._channel.resume()
                    return
                self._take(unit)
            self._channel.pause()
        finally:
            self._serving = False
        if self._session.full:
            self._dispatcher.wait_for_room(self._serve)
            self._watch_progress()

    def _watch_progress(self) -> None:
        """See whether commands are finished in time, of the session or of all, whichever is full."""
        if self._stuck is not None:
            return
        session, finished, all_finished = self._session, self._session.finished, self._dispatcher.finished

        def see() -> None:
            self._stuck = None
            session.stuck = session.full_by_itself and session.finished == finished
            if session.full and not session.full_by_itself and self._dispatcher.finished == all_finished:
                self._dispatcher.stuck = True
            self._serve()

        self._stuck = self._loop.call_later(_STUCK_TIME, see)

    def _whole_call(self, data: memoryview) -> Call | None:
        if not self._session.wants_more:
            return None
        try:
            line = self._parser.whole_line(data)
        except MemoryError:
            return None
        return None if line is None else self._reader.read_plain(line)

    def _take(self, unit: Unit) -> None:
        if isinstance(unit, Line):
            for call in self._reader.read(unit.data):
                self._take_call(call)
            self._parser.spans_lines = self._reader.spans_lines
        elif isinstance(unit, Damage):
            self._session.take(Call(None, 0, CommandError(unit.text, unit.code), self._reader.dialect))
        elif isinstance(unit, Frame):
            self._session.take_frame(unit)

    def _take_call(self, call: Call) -> None:
        name = call.request.execute if call.request is not None else ""
        if name == "sync":
            self._sync(call)
            return
        if name in _GUEST_SYNCS:
            # Its client ignores what is answered before, and need not wait for that.
            ignored = name == _DELIMITED_SYNC and (self._session.busy or self._channel.output_size >= _OUTPUT_HIGH)
            if ignored or self._session.muted:
                # Whoever says that is not the one who left, or is answered for nobody.
                self._renew()
            self._synced_at = monotonic()
            self._guest_sync = call
        self._session.take(call)

    def _sync(self, call: Call) -> None:
        self._dispatcher.log_call(call, self._peer)
        try:
            self._dispatcher.bind(call)
            self._dispatcher.check(call)
        except Exception as error:
            self._channel.send([self._dispatcher.refuse(call, error)])
            return
        self._renew()
        self._synced_at = monotonic()
        self._channel.send([RESET_BYTE, *self._dispatcher.run_inline(call, self._peer)])
