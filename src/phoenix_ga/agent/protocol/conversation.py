"""A conversation: turns the bytes of one channel into calls of its current client."""

from __future__ import annotations

from time import monotonic

from phoenix_ga.agent.protocol.call import Call, CommandError
from phoenix_ga.agent.protocol.lines import LineReader, NotLoadedError, whole_line
from phoenix_ga.agent.protocol.request_log import log_request
from phoenix_ga.agent.protocol.scheduler import OUTPUT_HIGH
from phoenix_ga.agent.protocol.session import Session
from phoenix_ga.wire.objects import count_marks
from phoenix_ga.wire.units import RESET_BYTE, Damage, Frame, Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from phoenix_ga.agent.core.channel import Channel
    from phoenix_ga.agent.core.loop import Timer
    from phoenix_ga.agent.protocol.scheduler import Scheduler
    from phoenix_ga.wire.units import Unit

# The kernel's name for the port of the QEMU Guest Agent.
_QGA_PORT: Final = "org.qemu.guest_agent"
_DELIMITED_SYNC: Final = "guest-sync-delimited"
# Commands that concern the session itself.
_OF_SESSIONS: Final = frozenset(("sync", "get-session", "guest-sync", _DELIMITED_SYNC))
# A client's first bytes may arrive this long before the kernel reports its connection, in seconds.
ARRIVAL_TIME: Final = 0.25
# If nothing was answered for this long, in seconds, requests beyond the limits are refused instead of left unread, so
# that a `sync` behind them is seen.
_STUCK_TIME: Final = 2.0
# Other clients are served after this many units of one.
_UNITS_PER_TURN: Final = 100
# What is refused, in a row, before a client is not taken for one and only lines that may hold a request are read.
# A line that has many brackets and quotes takes as long to refuse as several.
_REFUSED_MAX: Final = 1000
_MARKS_PER_REFUSAL: Final = 8
# Only the first bytes of a line count.
_MARKED: Final = 1024


class Conversation:
    """The input of one channel, and the session of its current client.

    A port outlives its clients. Bytes may arrive before the kernel reports the connection, see docs/architecture.md.
    `sync` and `leave` start a new session; `hang_up` also drops half a request. Requests that can be read immediately
    after a client has left are run but not answered, up to a `sync`.

    Args:
        peer: The name of the port, for the log.
        settled: Called when no answers are pending, if `ending` is set or the agent is about to end.

    Attributes:
        ending: The client sends no more.
    """

    def __init__(self, scheduler: Scheduler, channel: Channel, peer: str, settled: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._dispatcher = scheduler.dispatcher
        config = scheduler.dispatcher.context.config
        self._channel = channel
        self._peer = peer
        self._settled = settled
        self.ending = False
        self._stuck: Timer | None = None
        self._late_check: Timer | None = None
        self._parser = Parser(config.line_limit, splits_data=True)
        self._parser_idle = True
        self._reader = LineReader(self._dispatcher, config.speaks_qga_first or _QGA_PORT in peer)
        # The last `guest-sync`, if the current session has sent one.
        self._guest_sync: Call | None = None
        self._session = Session(scheduler, channel, peer, self._serve)
        self._synced_at = 0.0
        self._exhausted_before = 0
        self._serving = False
        self._continuing = False
        self._turn = 0
        # What was refused since the last request or frame.
        self._refused = 0
        # The unit for which a worker imports modules; no other is taken before it.
        self._loading: Unit | None = None

    @property
    def busy(self) -> bool:
        """Whether answers are pending."""
        return self._session.queue.busy or self._channel.output_size > 0 or self._loading is not None

    @property
    def unfinished(self) -> bool:
        """Whether answers are pending, or half a request has arrived."""
        return self.busy or self._parser.pending > 0

    def park(self) -> dict[str, Any] | None:
        """Return what `restore` needs after the agent was parked, or None if the client needs it awake."""
        if self.unfinished or self._session.streams:
            return None
        return {"session": self._session.known_number, "qga": self._reader.speaks_qga}

    def restore(self, parked: Mapping[str, Any]) -> None:
        """Continue the session of before."""
        if parked["session"] is not None:
            self._session.number = parked["session"]
        self._reader = LineReader(self._dispatcher, parked["qga"])
        self._parser.spans_lines = parked["qga"]

    def end_streams(self) -> None:
        """Reset the client's streams, because the agent is about to end or to stop serving the port."""
        self._session.end_streams()

    def received(self, data: memoryview) -> None:
        """Take bytes from the channel."""
        if self._session.muted and self._channel.exhausted != self._exhausted_before:
            self._renew()
        call = self._whole_call(data)
        if call is not None:
            if call.error is None:
                self._refused = 0
            self._take_call(call)
            return
        self._parser.spans_lines = self._reader.spans_lines
        self._parser.receive(data)
        self._serve()
        self._parser.hold()
        self._parser_idle = self._parser.idle

    def drained(self) -> None:
        """The channel has written all output: continue."""
        session = self._session
        streams = session.streams
        if streams is not None and streams.pumping:
            # A frame was written immediately: nothing has changed.
            return
        if session.queue.held:
            session.queue.release()
        if streams is not None:
            streams.pump()
        if self._channel.paused and not self._continuing:
            self._serve()
        self._check_settled()

    def leave(self) -> None:
        """The client has left: drop its answers, including those to requests that can still be read."""
        if monotonic() - self._synced_at <= ARRIVAL_TIME:
            # Probably the client before the one that sent `sync`.
            self._hand_over()
            if self._late_check is None:
                self._late_check = self._scheduler.loop.call_later(2 * ARRIVAL_TIME, self._leave_unless_connected)
            return
        self._renew()
        self._session.muted = True
        self._exhausted_before = self._channel.exhausted
        # The previous session may have waited for its client to read.
        self._serve()
        self._check_settled()

    def hang_up(self) -> None:
        """No client is connected: drop the answers, and half a request."""
        for timer in (self._stuck, self._late_check):
            if timer is not None:
                timer.cancel()
        self._stuck = self._late_check = None
        self._parser.reset()
        self._loading = None
        self._renew()
        self._serve()
        self._check_settled()

    def _hand_over(self) -> None:
        """Move the requests since the last `guest-sync` to a new session, if they wait for earlier commands."""
        calls = self._session.queue.take_back(self._guest_sync) if self._guest_sync is not None else []
        if calls:
            self._renew()
            for call in calls:
                self._session.take(call)

    def _leave_unless_connected(self) -> None:
        self._late_check = None
        self._channel.poll_connected()
        if not self._channel.connected:
            self.leave()

    def _check_settled(self) -> None:
        if (self.ending or self._scheduler.stopping) and not self.busy:
            self._settled()

    def _renew(self) -> None:
        self._session.detach()
        self._channel.drop_output()
        self._parser.line_limit = self._dispatcher.context.config.line_limit
        self._guest_sync = None
        self._refused = 0
        self._session = Session(self._scheduler, self._channel, self._peer, self._serve)

    def _serve(self) -> None:
        # An answer that is written at once calls `drained`, which calls this.
        if self._serving:
            return
        self._serving = True
        try:
            self._turn = _UNITS_PER_TURN
            while self._session.wants_more and self._loading is None:
                if self._turn <= 0:
                    self._continue_soon()
                    break
                self._turn -= 1
                unit = self._parser.next_unit()
                if unit is None:
                    self._channel.resume()
                    return
                self._take(unit)
            self._channel.pause()
        finally:
            self._serving = False
            self._parser_idle = self._parser.idle
        if self._session.queue.full:
            self._scheduler.wait_for_room(self._serve)
            self._watch_progress()

    def _continue_soon(self) -> None:
        if not self._continuing:
            self._continuing = True
            self._scheduler.loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._continuing = False
        self._serve()

    def _watch_progress(self) -> None:
        """After _STUCK_TIME, check whether calls still finish: this session's, or all if the total is too much."""
        if self._stuck is not None:
            return
        scheduler, queue = self._scheduler, self._session.queue
        finished, all_finished = queue.finished, scheduler.finished

        def check() -> None:
            self._stuck = None
            queue.stuck = queue.full_by_itself and queue.finished == finished
            if queue.full and not queue.full_by_itself and scheduler.finished == all_finished:
                scheduler.stuck = True
            self._serve()

        self._stuck = scheduler.loop.call_later(_STUCK_TIME, check)

    def _whole_call(self, data: memoryview) -> Call | None:
        """Return the call if `data` is one line that holds one request."""
        if not self._parser_idle or self._loading is not None or not self._session.wants_more:
            return None
        try:
            line = whole_line(data, self._parser.line_limit)
            return None if line is None else self._reader.read_plain(line)
        except (MemoryError, NotLoadedError):
            return None

    def _take(self, unit: Unit) -> None:
        try:
            if isinstance(unit, Frame):
                self._session.receive_frame(unit)
                self._refused = 0
            elif isinstance(unit, Damage):
                self._session.take(Call(None, 0, self._reader.dialect, CommandError(unit.text, unit.code)))
                self._count_refused(1)
            else:
                calls = self._reader.read(unit.data)
                for call in calls:
                    self._take_call(call)
                self._parser.spans_lines = self._reader.spans_lines
                if any(call.error is None for call in calls):
                    self._refused = 0
                else:
                    self._count_refused(1 + count_marks(unit.data[:_MARKED]) // _MARKS_PER_REFUSAL)
        except NotLoadedError as error:
            self._take_when_loaded(unit, error.load)

    def _count_refused(self, count: int) -> None:
        """Protect the agent, and its other clients, from a flood that is no request."""
        again = self._refused >= _REFUSED_MAX
        self._refused += count
        self._turn -= count
        if self._refused >= _REFUSED_MAX:
            self._parser.skim(again)

    def _take_when_loaded(self, unit: Unit, load: Callable[[], object]) -> None:
        loop = self._scheduler.loop
        self._loading = unit

        def work() -> None:
            failure = None
            try:
                load()
            except Exception as error:
                failure = error
            loop.call_from_thread(loaded, failure)

        def loaded(failure: Exception | None) -> None:
            # Unless the client has left.
            if self._loading is unit:
                self._loading = None
                if failure is None:
                    self._take(unit)
                else:
                    self._session.take(Call(None, 0, self._dispatcher.native, failure))
                self._serve()
                self._check_settled()

        try:
            self._scheduler.workers.submit_urgent(work)
        except OSError:
            work()

    def _take_call(self, call: Call) -> None:
        name = call.request.execute if call.request is not None else ""
        if name not in _OF_SESSIONS:
            self._session.take(call)
            return
        if name == "sync":
            self._sync(call)
            return
        if name == "get-session":
            call.bound = {"number": self._session.number}
        else:
            # Its client ignores answers before this one, so it need not wait for them.
            busy = self._session.queue.busy or self._channel.output_size >= OUTPUT_HIGH
            if self._session.muted or (busy and name == _DELIMITED_SYNC):
                self._renew()
            self._synced_at = monotonic()
            self._guest_sync = call
        self._session.take(call)

    def _sync(self, call: Call) -> None:
        dispatcher = self._dispatcher
        if dispatcher.context.log.debug:
            log_request(dispatcher.context.log, self._peer, call)
        dispatcher.bind(call)
        try:
            dispatcher.check(call)
        except Exception as error:
            self._channel.send(dispatcher.refuse(call, error))
            return
        self._renew()
        self._session.number = call.bound["id"]
        self._synced_at = monotonic()
        self._channel.send([RESET_BYTE, *dispatcher.answer(call)])
