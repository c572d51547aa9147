"""From a request to its answer: permission, the handler, and the order in which they run."""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.core.log import DEBUG, ERR, NOTICE
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.protocol.dialect import CommandError
from phoenix_ga.wire.declaration import ArgumentError
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.context import Context
    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.protocol.dialect import Dialect, Pieces
    from phoenix_ga.agent.protocol.streams import Endpoint
    from phoenix_ga.wire.declaration import Command
    from phoenix_ga.wire.messages import Request
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

_SHOWN_MAX: Final = 200
_STREAM_MAX: Final = 2**32 - 1
# What all requests that are not answered yet may cost, in bytes.
TOTAL_COST_MAX: Final = 64 * 1024 * 1024
_OUT_OF_MEMORY: Final = "the agent ran out of memory"


class Call:
    """A request on its way to its answer.

    request: None where a line held none. size: of the line, in bytes. error: what was wrong with it
    before it could run. first: what to do as soon as no call before it works on its file handle.
    """

    __slots__ = ("bound", "command", "dialect", "error", "error_text", "first", "request", "size")

    def __init__(
        self, request: Request | None, size: int, error: Exception | None = None, dialect: Dialect = NATIVE
    ) -> None:
        self.request = request
        self.size = size
        self.error = error
        self.dialect = dialect
        self.error_text = ""
        self.command: Command | None = None
        self.bound: dict[str, Any] = {}
        self.first: Callable[[], None] | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it was bound, and running it leaves its arguments as they are."""
        return self.command is not None and (self.command.inline or bool(self.command.at_once))

    def again(self) -> Call:
        """Return the same call, to be run once more."""
        call = Call(self.request, self.size, None, self.dialect)
        call.command = self.command
        call.bound = self.bound
        return call

    @property
    def tag(self) -> Any:
        return NO_TAG if self.request is None else self.request.tag

    @property
    def ordered(self) -> bool:
        """Whether its answer can't be told apart by a tag, so that it has to come in its turn."""
        return self.request is None or self.dialect.ordered or self.request.ordered

    @property
    def handle(self) -> Any:
        """The file handle that it works on, or None."""
        return self.bound[self.command.handle] if self.command is not None and self.command.handle else None


class Opened:
    """What a command returns that opens streams.

    answer: its members, but for the numbers of the streams. endpoints: the guest's ends of them, by
    the member that is to name each. credit: how many bytes each may send at first.
    """

    __slots__ = ("answer", "credit", "endpoints")

    def __init__(self, answer: dict[str, Any], endpoints: dict[str, Endpoint], credit: int) -> None:
        self.answer = answer
        self.endpoints = endpoints
        self.credit = credit


class Dispatcher:
    """Runs calls for all sessions: on the loop what can't block, on workers all else.

    Calls on one file handle run in the order in which they came, whoever makes them.
    """

    def __init__(self, context: Context, loop: Loop, workers: Workers) -> None:
        self.context = context
        self._loop = loop
        self.workers = workers
        # A number of an agent that was restarted should not mean another stream of this one.
        self._last_stream = int.from_bytes(os.urandom(3), "big")
        self._handlers: dict[Command, Callable[..., Any]] = {}
        # Of the commands that have one and ran before: the loop must not load anything.
        self._at_once: dict[Command, Callable[..., Any]] = {}
        self._qga: Dialect | None = None
        # The calls on each handle that are not finished, in the order in which they came.
        self._lanes: dict[int, deque[Call]] = {}
        # Calls that were admitted and are not finished.
        self.under_way = 0
        # The cost of all requests that are not answered, those of clients that left included.
        self.unanswered = 0
        # How many commands are finished; and whether none was for a long time, while that was too much.
        self.finished = 0
        self.stuck = False
        # Who waits until it is less.
        self._waiting: list[Callable[[], None]] = []
        # No more requests are taken; `settled` is called whenever none is under way.
        self.stopping = False
        self.settled: Callable[[], None] = lambda: None

    def bind(self, call: Call) -> None:
        """Find the command and bind the arguments; what is wrong with them becomes the error of the call."""
        request = call.request
        if call.error is not None or request is None or call.command is not None:
            return
        try:
            command = call.dialect.find(request)
            call.bound = command.bind(request.arguments)
        except Exception as error:
            call.error = error
            return
        call.command = command

    def line_up(self, call: Call) -> None:
        """Give a call its place among those on its handle, which lasts until `step_out`."""
        if call.handle is not None:
            self._lanes.setdefault(call.handle, deque()).append(call)

    def when_first(self, call: Call, first: Callable[[], None]) -> None:
        """Call `first` as soon as no call before it is left on its handle, which may be now."""
        if call.handle is None or self._lanes[call.handle][0] is call:
            first()
        else:
            call.first = first

    def step_out(self, call: Call) -> None:
        """The call is finished, or was refused: the next one on its handle may go on."""
        handle = call.handle
        if handle is None:
            return
        lane = self._lanes[handle]
        was_first = lane[0] is call
        lane.remove(call)
        if not lane:
            del self._lanes[handle]
        elif was_first and lane[0].first is not None:
            lane[0].first()

    def check(self, call: Call) -> None:
        """Ask the policy. Raises what is wrong with the call."""
        if call.error is not None:
            raise call.error
        assert call.command is not None
        self.context.policy.check(call.command, call.bound, self.context.frozen)

    def run_inline(self, call: Call, peer: str) -> Pieces:
        """Run a call that can't block and was checked, and return its answer."""
        pieces = self._run(call)
        assert not isinstance(pieces, Opened)
        self._audit(call, peer)
        return pieces

    def run_at_once(self, call: Call, peer: str) -> Pieces | None:
        """Run a call that was bound and is not lined up, and return its answer; None where it has to wait."""
        command = call.command
        assert command is not None
        if command.inline:
            try:
                self.check(call)
            except Exception as error:
                return [self.refuse(call, error)]
            return self.run_inline(call, peer)
        function = self._at_once.get(command)
        if function is None or call.handle in self._lanes:
            return None
        try:
            self.check(call)
            return self.encode_return(function(self.context, **call.bound), call)
        except Exception:
            # Whatever it is, a worker finds out.
            return None

    def admit(self, call: Call) -> None:
        """Count a call that is to be run on a worker. Raises CommandError (EAGAIN) where there are too many."""
        assert call.command is not None
        limit = self.context.config.max_commands
        if self.under_way >= limit and not call.command.urgent:
            raise CommandError(f"{limit} commands are under way, which is the limit; wait for answers", errno.EAGAIN)
        self.under_way += 1

    def next_stream(self) -> int:
        """Return the number of the next stream: an old frame on its way never meets a new stream."""
        self._last_stream = self._last_stream % _STREAM_MAX + 1
        return self._last_stream

    def count(self, cost: int) -> None:
        """Add to the cost of what is not answered."""
        self.unanswered += cost
        if self.unanswered < TOTAL_COST_MAX:
            self.stuck = False
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, []
            for proceed in waiting:
                self._loop.call_soon(proceed)

    def wait_for_room(self, proceed: Callable[[], None]) -> None:
        """Call `proceed` when what is not answered is no longer too much."""
        if proceed not in self._waiting:
            self._waiting.append(proceed)

    def withdraw(self, call: Call) -> None:
        """Forget an admitted call that was not run."""
        self.under_way -= 1
        self.step_out(call)
        self._loop.call_soon(self._tell_if_settled)

    def run(self, call: Call, peer: str, finished: Callable[[Pieces | Opened], None]) -> None:
        """Run an admitted call on a worker. finished: is called on the loop then, with the answer."""
        assert call.command is not None

        def job() -> None:
            try:
                outcome = self._run(call, check=True)
            except MemoryError:
                outcome = [call.dialect.encode_error(MemoryError(), _OUT_OF_MEMORY, errno.ENOMEM, None, NO_TAG)]
            self._loop.call_from_thread(done, outcome)

        def done(outcome: Pieces | Opened) -> None:
            self.under_way -= 1
            self.finished += 1
            self.stuck = False
            self._audit(call, peer)
            finished(outcome)
            self.step_out(call)
            self._tell_if_settled()

        try:
            if call.command.urgent:
                self.workers.submit_urgent(job)
            else:
                self.workers.submit(job)
        except OSError as error:
            # Later, as any other answer: whoever asked is not ready for it now.
            self._loop.call_soon(done, [self.refuse(call, error)])

    def _tell_if_settled(self) -> None:
        if self.under_way == 0:
            self.settled()

    def refuse(self, call: Call, error: Exception) -> bytes:
        """Return the answer to a call that met `error`."""
        text, code = self._describe(error)
        call.error_text = text[:_SHOWN_MAX]
        return call.dialect.encode_error(error, text, code, call.command, call.tag)

    def log_call(self, call: Call, peer: str) -> None:
        """Log the request, where requests are logged."""
        if self.context.log.debug:
            request = call.request
            shown: object = call.error
            if request is not None and request.execute:
                shown = f"{request.execute[:100]} {_shown(request.arguments, call.dialect.hidden)}"
            self.context.log.write(DEBUG, f"{peer}: {shown}")

    def load(self, dialect: Dialect, command: Command) -> Callable[..., Any]:
        """Return the handler of a command; its module is imported on first use."""
        function = self._handlers.get(command)
        if function is None:
            module_name, _, name = command.handler.partition(":")
            module = __import__(dialect.handlers + module_name, fromlist=(name,))
            function = self._handlers[command] = getattr(module, name)
            if command.at_once:
                self._at_once[command] = getattr(module, command.at_once)
        return function

    def load_needed(self, dialect: Dialect) -> None:
        """Load what runs on the loop, or while filesystems are frozen: it must never come from a disk then."""
        for command in dialect.commands():
            if command.inline or command.while_frozen:
                self.load(dialect, command)

    def load_qga(self) -> Dialect:
        """Return the dialect of the QEMU Guest Agent; an agent that nobody asks in it does without."""
        if self._qga is None:
            from phoenix_ga.agent.dialects.qga.dialect import QGA

            self.load_needed(QGA)
            self._qga = QGA
        return self._qga

    def encode_return(self, value: Any, call: Call) -> Pieces:
        """Return the answer to a call that returned `value`."""
        assert call.command is not None
        return call.dialect.encode_return(value, call.command, call.tag)

    def _run(self, call: Call, check: bool = False) -> Pieces | Opened:
        command = call.command
        assert command is not None
        try:
            if check:
                # Filesystems may have been frozen since the call was begun.
                self.check(call)
            value = self.load(call.dialect, command)(self.context, **call.bound)
            return value if type(value) is Opened else self.encode_return(value, call)
        except Exception as error:
            return [self.refuse(call, error)]

    def _audit(self, call: Call, peer: str) -> None:
        command = call.command
        if command is not None and command.changes and command.changes_guest(call.bound):
            outcome = f"failed: {call.error_text}" if call.error_text else "done"
            parts = (f"audit: {peer}:", command.name, _shown(call.bound, call.dialect.hidden), outcome)
            self.context.log.write(NOTICE, " ".join(part for part in parts if part))

    def _describe(self, error: Exception) -> tuple[str, int]:
        """Return the text and the code that tell a client of `error`."""
        if isinstance(error, OSError):
            text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
            if error.filename is not None:
                text = f"{_path_text(error.filename)}: {text}"
            return text, error.errno or NO_CODE
        if isinstance(error, CommandError):
            return str(error), error.code
        if isinstance(error, ArgumentError):
            return str(error), errno.EINVAL
        if isinstance(error, UnicodeEncodeError):
            return "text holds a lone surrogate that stands for no byte", errno.EILSEQ
        if isinstance(error, MemoryError):
            return _OUT_OF_MEMORY, errno.ENOMEM
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
        text = f"internal error: {type(error).__name__}: {error}"
        self.context.log.write(ERR, f"{text} at {where}")
        return text, NO_CODE


def _path_text(path: str | bytes | int) -> str:
    return path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)


def _shown(arguments: dict[str, Any], hidden: frozenset[str]) -> str:
    """Return the arguments for the log, without bulk data and secrets."""
    parts = []
    for name, value in arguments.items():
        if name in hidden:
            text = f"<{len(str(value))} characters>"
        elif name == "env" and isinstance(value, (dict, list)):
            # The values may be secrets.
            text = " ".join(str(variable).partition("=")[0] for variable in value)[:_SHOWN_MAX]
        else:
            # A path may be as long as a line.
            try:
                text = encode_json(value[:_SHOWN_MAX] if isinstance(value, str) else value).decode("ascii")
            except (RecursionError, MemoryError):
                text = "..."
            if len(text) > _SHOWN_MAX:
                text = text[:_SHOWN_MAX] + "..."
        parts.append(f"{name[:40]}={text}")
    return " ".join(parts)
