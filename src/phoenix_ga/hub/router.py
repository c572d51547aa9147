"""Many clients on one connection to a guest: requests, answers and frames find their way. No I/O.

The guest sees one client. Each request goes out with a tag of the hub, so that its answer finds the client; a
stream belongs to the client whose request opened it. `sync` and `get-session` are about the client's own session
and are answered here.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from errno import EOPNOTSUPP, EPERM, EPROTO
from typing import Any, Final, Protocol

from phoenix_ga.client.dialects import QEMU_PREFIX, make_any_answer
from phoenix_ga.client.errors import ConnectionLostError
from phoenix_ga.hub.catalogue import LOCAL
from phoenix_ga.hub.messages import END, TAG, ClientRequest, is_plain_tag, read_line
from phoenix_ga.hub.routes import Route, Routes
from phoenix_ga.wire.frames import RESET
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import ANSWER_ELEMENTS_MAX, NO_CODE, MessageError, Request, encode_error
from phoenix_ga.wire.streams import LINK_LOST, UNKNOWN_STREAM, Stream, StreamViolation
from phoenix_ga.wire.units import LINE_LIMIT, Frame, Line, Parser

# Requests of one client that the guest works on at a time; freezing, thawing and what cannot block does not count.
# The guest runs 16 for all clients together.
_IN_FLIGHT_MAX: Final = 8
# Beyond one of these, the hub stops reading from a client: bytes of its requests that were not answered, and of its
# frames that were not sent to the guest yet.
_UNANSWERED_MAX: Final = 16 * 1024 * 1024
_UNSENT_MAX: Final = 1024 * 1024
_REQUEST_OVERHEAD: Final = 1024
# Number of requests that a client may repeat without another look at them, and the most bytes of them.
_FAMILIAR_COUNT: Final = 64
_FAMILIAR_MAX: Final = 512
# The longest line of a client that may not send any request to the guest.
_STRANGERS_LINE_MAX: Final = 64 * 1024
# Characters of an error's text for the record.
_ERROR_MAX: Final = 200
_RETURN: Final = b'{"return": '
_TAG_LENGTH: Final = len(TAG) + 1


class ClientPort(Protocol):
    """Where a client's bytes go."""

    def send(self, *pieces: bytes | memoryview) -> None:
        """Send bytes without waiting."""

    def close(self) -> None:
        """Send what is left, then close the connection."""

    def go_on(self) -> None:
        """Read again from a client that was stopped because it was full."""


class GuestPort(Protocol):
    """Where the guest's bytes go."""

    def send(self, line: bytes, first: bool) -> None:
        """Send a line, before any frame. first: the guest owes nothing yet."""

    def send_frame(self, client: Client, *pieces: bytes | memoryview) -> None:
        """Send a frame; clients take turns."""

    def receive_other(self, message: dict[str, Any]) -> None:
        """Process an answer to none of the router's requests. Raises ConnectionLostError."""


class Call:
    """A request on its way.

    Attributes:
        client: who sent it.
        request: as the client sent it.
        tail: the end of its answer: the client's tag.
        size: of the request, in bytes.
        tag: the hub's tag, once it was sent.
        muted: nobody waits for its answer.
    """

    __slots__ = ("client", "muted", "request", "size", "tag", "tail")

    def __init__(self, client: Client, request: ClientRequest, tail: bytes, size: int) -> None:
        self.client = client
        self.request = request
        self.tail = tail
        self.size = size
        self.tag = b""
        self.muted = False


class Client:
    """A client of the guest.

    Attributes:
        port: where its bytes go.
        user: who it is, for the rules and the records.
        may_use: it may send at least some requests to the guest.
    """

    def __init__(self, port: ClientPort, user: Any, may_use: bool) -> None:
        self.port = port
        self.user = user
        self.parser = Parser(splits_data=True)
        # The parser is between two units.
        self.parser_idle = True
        # Requests that it may send, and that need no other look, by their text.
        self.familiar: dict[bytes, ClientRequest] = {}
        self.session = secrets.randbits(53)
        # Requests that wait: those that are answered at once, those that are answered in order, and the others.
        self.quick: deque[Call] = deque()
        self.ordered: deque[Call] = deque()
        self.tagged: deque[Call] = deque()
        # Bytes of requests without an answer, and of frames that were not sent to the guest yet.
        self.unanswered = self.unsent = 0
        # Nothing is read from it because it is full.
        self.is_stopped = False
        self.in_flight: set[Call] = set()
        # The tags of those that only failure is answered to.
        self.silent: list[bytes] = []
        self.ordered_in_flight = 0
        self.ending = False
        self.left = False
        self.decide(may_use)

    def decide(self, may_use: bool) -> None:
        """Note whether it may send at least some requests, and that the rules must be asked about each again."""
        self.may_use = may_use
        self.parser.line_limit = LINE_LIMIT if may_use else _STRANGERS_LINE_MAX
        self.familiar.clear()

    @property
    def held(self) -> int:
        """The number of bytes of requests that have not arrived completely, or were not answered."""
        return self.parser.pending + self.unanswered

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read from it for now."""
        return self.unanswered > _UNANSWERED_MAX or self.unsent > _UNSENT_MAX

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is waiting or on its way."""
        return not (self.in_flight or self.waiting)

    @property
    def waiting(self) -> list[Call]:
        """The requests that were not sent yet."""
        return [*self.quick, *self.ordered, *self.tagged]


class Observer(Protocol):
    """Decides what clients may do, and is told what they did."""

    def refusal(self, client: Client, request: ClientRequest) -> str:
        """Return why a request is refused, or an empty string."""

    def begun(self, call: Call) -> None:
        """Note that a request goes to the guest."""

    def ended(self, call: Call, error: str) -> None:
        """Note that it was answered; `error` is empty, or the text of the error."""


class Router:
    """Routes between one guest and its clients.

    Args:
        guest: where the guest's bytes go.
        observer: decides about requests.
        wanted: is called when the guest is needed.
    """

    def __init__(self, guest: GuestPort, observer: Observer, wanted: Callable[[], None]) -> None:
        self._guest = guest
        self._observer = observer
        self._wanted = wanted
        self._prefix = b"hub-%s-" % secrets.token_hex(4).encode()
        self._number = 0
        self._calls: dict[bytes, Call] = {}
        self._parser = Parser(lines_only=True, splits_data=True)
        self._parser_idle = True
        self._routes = Routes()
        # Which dialects the guest speaks; None while it is not connected.
        self._native: bool | None = None
        # Calls of the QEMU dialect, one of which the guest works on at a time.
        self._turn: bytes | None = None
        self._waiting_for_turn: deque[Client] = deque()
        self.clients: set[Client] = set()

    @property
    def owes(self) -> bool:
        """Whether the guest owes an answer or the end of a stream."""
        return bool(self._routes) or any(not call.request.is_silent for call in self._calls.values())

    @property
    def is_connected(self) -> bool:
        """Whether the guest is connected."""
        return self._native is not None

    def stream_count(self, client: Client) -> int:
        """Return the number of a client's open streams."""
        return len(self._routes.of(client))

    # Clients

    def attach(self, port: ClientPort, user: Any, may_use: bool = True) -> Client:
        """Add a client."""
        client = Client(port, user, may_use)
        self.clients.add(client)
        return client

    def finish(self, client: Client) -> None:
        """Note that a client sends nothing more: it is disconnected once it has all its answers."""
        client.ending = True
        self._close_if_done(client)

    def detach(self, client: Client) -> None:
        """Remove a client: its requests that wait are dropped, and its streams reset."""
        if client.left:
            return
        client.left = True
        self.clients.discard(client)
        for queue in (client.quick, client.ordered, client.tagged):
            queue.clear()
        self._mute(client)
        self._end_silent(client)
        self._drop_streams(client)

    def receive(self, client: Client, data: bytes) -> bool:
        """Process bytes of a client. Return false if nothing of them has to wait."""
        if len(data) <= _FAMILIAR_MAX and client.parser_idle and self._native and self._send_familiar(client, data):
            return False
        parser = client.parser
        parser.receive(data)
        for unit in parser:
            if client.left:
                return False
            if isinstance(unit, Line):
                self._receive_line(client, unit.data)
            elif isinstance(unit, Frame):
                self._receive_client_frame(client, unit)
            else:
                client.port.send(encode_error(unit.text, unit.code))
        client.parser_idle = parser.idle
        self._pump(client)
        return True

    def _send_familiar(self, client: Client, data: bytes) -> bool:
        """Send a request that the client has sent before, but for its tag. Return false if it is not one."""
        cut = data.rfind(TAG)
        request = client.familiar.get(data[:cut])
        if request is None or data[-2:] != END or client.is_full or not is_plain_tag(data[cut + len(TAG) : -2]):
            return False
        call = Call(client, request, data[cut:], _REQUEST_OVERHEAD)
        first = not self._calls and not self._routes
        client.unanswered += _REQUEST_OVERHEAD
        client.in_flight.add(call)
        self._number = number = self._number + 1
        call.tag = tag = b"%s%d" % (self._prefix, number)
        self._calls[tag] = call
        self._guest.send(b'%s, "tag": "%s"}\n' % (request.text, tag), first)
        return True

    def _receive_line(self, client: Client, line: bytes) -> None:
        for found in read_line(line):
            if isinstance(found, bytes):
                client.port.send(found)
            else:
                request, tail = found
                client.parser.spans_lines = request.is_qemu
                self._queue(Call(client, request, tail, len(line) + _REQUEST_OVERHEAD))

    def _queue(self, call: Call) -> None:
        client = call.client
        execute = call.request.execute
        client.unanswered += call.size
        if execute == "sync":
            self._begin_session(client)
        if not client.may_use or execute == "get-session":
            # A stranger gets its refusals, but does not open the port. A client that waits for the guest may go on
            # waiting: the hub keeps its requests.
            self._send(call)
            return
        if self._native is None:
            self._wanted()
        # A tagged request on a file handle may not overtake an earlier one that waits for its turn.
        command = call.request.command
        waits = command is not None and bool(command.handle) and (client.ordered or client.ordered_in_flight)
        if execute in LOCAL and not call.request.is_qemu:
            client.quick.append(call)
        elif call.request.is_ordered or waits:
            client.ordered.append(call)
        elif call.request.is_quick:
            client.quick.append(call)
        else:
            client.tagged.append(call)

    def _begin_session(self, client: Client) -> None:
        """Forget what the client has asked: it still runs, but is not answered."""
        for call in client.waiting:
            call.muted = True
        self._mute(client)
        self._drop_streams(client)

    def _mute(self, client: Client) -> None:
        """Answer nothing that the guest works on, and call off what can be called off, as the agent would."""
        for call in list(client.in_flight):
            is_new = not call.muted
            call.muted = True
            if is_new and call.request.is_revocable and self._native:
                self._send_own(client, "fs-unfreeze", {"request": call.tag.decode()})

    def _pump(self, client: Client) -> None:
        """Send the requests of a client whose turn it is."""
        while self._native is not None and client.quick:
            self._send(client.quick.popleft())
        while self._native is not None and client.tagged and len(client.in_flight) < _IN_FLIGHT_MAX:
            self._send(client.tagged.popleft())
        while self._native is not None and client.ordered and not client.ordered_in_flight:
            call = client.ordered[0]
            if call.request.is_qemu and call.request.execute not in LOCAL and not self._may_take_turn(call):
                break
            client.ordered.popleft()
            self._send(call)
        self._close_if_done(client)

    def _may_take_turn(self, call: Call) -> bool:
        """Return whether a call of the QEMU dialect may be sent; if not, its client waits for its turn."""
        # Our agent thaws even if an earlier request hangs.
        if self._turn is None or (self._native and call.request.is_quick):
            return True
        if call.client not in self._waiting_for_turn:
            self._waiting_for_turn.append(call.client)
        return False

    def _send(self, call: Call) -> None:
        client, request = call.client, call.request
        if request.execute in LOCAL:
            client.unanswered -= call.size
            self._answer_local(call)
            return
        refusal = self._observer.refusal(client, request)
        code = EPERM
        if not refusal and not self._native and not request.is_qemu:
            refusal, code = "this guest's agent speaks only the dialect of the QEMU Guest Agent", EOPNOTSUPP
        if refusal:
            client.unanswered -= call.size
            if not call.muted:
                client.port.send(request.refuse(refusal, code, call.tail))
            return
        if call.muted and request.is_revocable:
            client.unanswered -= call.size
            return
        self._dispatch(call)
        is_short = len(request.text) < _FAMILIAR_MAX and len(client.familiar) < _FAMILIAR_COUNT
        if is_short and request.is_repeatable:
            client.familiar[request.text] = request

    def _send_own(self, client: Client, execute: str, arguments: dict[str, Any]) -> None:
        """Send a request for a client that has left without it; it is on record as the client's."""
        request = ClientRequest(Request(execute, arguments), execute.startswith(QEMU_PREFIX), b"")
        call = Call(client, request, END, 0)
        call.muted = True
        self._dispatch(call)

    def _dispatch(self, call: Call) -> None:
        """Send a request to the guest."""
        client, request = call.client, call.request
        self._number += 1
        call.tag = tag = b"%s%d" % (self._prefix, self._number)
        first = not self.owes
        self._observer.begun(call)
        self._calls[tag] = call
        if call.request.is_silent:
            client.silent.append(tag)
        else:
            client.in_flight.add(call)
            client.ordered_in_flight += request.is_ordered
            if request.is_qemu and self._turn is None:
                self._turn = tag
        self._guest.send(request.forward(tag), first)

    def decide_again(self, may_use: Callable[[Any], bool]) -> None:
        """Note that the rules have changed. may_use: tells whether a user may use the guest at all."""
        for client in self.clients:
            client.decide(may_use(client.user))

    def _answer_local(self, call: Call) -> None:
        client, request = call.client, call.request
        if call.muted:
            return
        number = request.arguments.get("id")
        if request.execute == "get-session":
            number = client.session
        elif type(number) is not int or set(request.arguments) != {"id"}:
            refusal = request.refuse("the only argument is 'id', an integer", NO_CODE, call.tail)
            client.port.send(refusal)
            return
        else:
            client.session = number
        client.port.send(request.answer_return(number, call.tail))

    def _receive_client_frame(self, client: Client, frame: Frame) -> None:
        route = self._routes.find(frame.stream, client)
        if route is None:
            if frame.type != RESET:
                unknown = Stream(frame.stream, credit=0, window=0).reset("there is no such stream", UNKNOWN_STREAM)
                client.port.send(unknown)
            return
        self._guest.send_frame(client, *route.from_client(frame))
        self._forget_if_over(route)

    def _drop_streams(self, client: Client) -> None:
        for route in self._routes.of(client):
            self._guest.send_frame(client, route.reset("the client has left"))
            self._routes.remove(route)

    def _close_if_done(self, client: Client) -> None:
        if client.ending and client.is_idle and not self._routes.of(client) and not client.left:
            client.port.close()

    # The guest

    def up(self, native: bool) -> None:
        """Note that the guest is connected. native: it speaks our dialect, and not only that of QEMU."""
        self._native = native
        for client in list(self.clients):
            self._pump(client)

    def down(self, reason: str) -> None:
        """Note that the guest is gone, with all requests in flight and all streams."""
        self._native = None
        self._parser.reset()
        self._parser_idle = True
        calls, self._calls = self._calls, {}
        self._turn = None
        self._waiting_for_turn.clear()
        for route in self._routes.clear():
            route.client.port.send(route.reset(reason, LINK_LOST))
        for call in calls.values():
            if call.request.is_silent:
                # A guest that was to shut down did so.
                call.client.unanswered -= call.size
                self._observer.ended(call, "")
            else:
                self._ended(call, call.request.refuse(reason, LINK_LOST, call.tail), reason)
        for client in list(self.clients):
            self._close_if_done(client)
        if any(client.waiting for client in self.clients):
            self._wanted()

    def receive_from_guest(self, data: bytes) -> None:
        """Process bytes of the guest. Raises ConnectionLostError if the connection cannot be used any more."""
        is_line = data[:11] == _RETURN and self._parser_idle and data.find(b"\n") == len(data) - 1
        if is_line and self._pass_answer(data[:-1]):
            return
        parser = self._parser
        parser.receive(data)
        for unit in parser:
            if isinstance(unit, Line):
                if not self._pass_answer(unit.data):
                    self._receive_answer(unit.data)
            elif isinstance(unit, Frame):
                self._receive_guest_frame(unit)
            else:
                raise ConnectionLostError(f"the guest sent unexpected data: {unit.text}")
        self._parser_idle = parser.idle

    def _pass_answer(self, line: bytes) -> bool:
        """Pass on an answer that says success, without reading it. Return false if it has to be read."""
        cut = line.rfind(TAG)
        if line[:11] != _RETURN or line[-2:] != b'"}':
            return False
        tag = line[cut + _TAG_LENGTH : -2]
        call = self._calls.get(tag)
        if call is None or not call.request.passes_answers:
            return False
        del self._calls[tag]
        self._ended(call, line[:cut] + call.tail, "")
        client = call.client
        if client.ordered or client.tagged or client.ending:
            self._go_on(client)
        return True

    def _receive_answer(self, line: bytes) -> None:
        try:
            message = decode_json(line, ANSWER_ELEMENTS_MAX)
        except JsonError as error:
            raise ConnectionLostError(f"the guest sent an invalid answer: {error}") from None
        if not isinstance(message, dict):
            raise ConnectionLostError("the guest sent an answer that is not an object")
        member = message.get("tag", message.get("id"))
        # What qemu-ga cannot parse, it answers without an ID.
        tag = self._turn if member is None else str(member).encode("ascii", "replace")
        call = None if tag is None else self._calls.pop(tag, None)
        if call is None:
            self._guest.receive_other(message)
            return
        if tag == self._turn:
            self._turn = None
        if call.request.is_qemu and not call.request.is_silent:
            self._end_silent(call.client)
        text = _error_text(message)
        if not text and not self._open_streams(call, message):
            refusal = call.request.refuse("the guest's answer has invalid streams", EPROTO, call.tail)
            self._ended(call, refusal, "invalid answer")
        else:
            self._ended(call, call.request.answer(message, call.tail), text)
        if call.muted and call.request.is_revocable:
            self._undo(call.client, message.get("return"))
        self._go_on(call.client)

    def _undo(self, client: Client, frozen: Any) -> None:
        """Thaw what a client has frozen who left before it was told."""
        generation = frozen.get("generation") if isinstance(frozen, dict) else None
        if self._native and isinstance(generation, str) and generation:
            self._send_own(client, "fs-unfreeze", {"generation": generation})
        elif frozen and generation is None:
            self._send_own(client, "fs-unfreeze" if self._native else "guest-fsfreeze-thaw", {})

    def _go_on(self, client: Client) -> None:
        """Send what has waited for an answer."""
        self._pump(client)
        while self._turn is None and self._waiting_for_turn:
            self._pump(self._waiting_for_turn.popleft())

    def _end_silent(self, client: Client) -> None:
        """Note that silent requests have succeeded: answers of this dialect come in order, and a later one came."""
        for tag in client.silent:
            call = self._calls.pop(tag, None)
            if call is not None:
                client.unanswered -= call.size
                self._observer.ended(call, "")
        client.silent.clear()

    def _ended(self, call: Call, answer: bytes, error: str) -> None:
        client = call.client
        if not call.request.is_silent:
            client.in_flight.discard(call)
            client.ordered_in_flight -= call.request.is_ordered
        client.unanswered -= call.size
        self._observer.ended(call, error)
        if not call.muted:
            client.port.send(answer)
        if client.is_stopped and not client.is_full:
            client.port.go_on()

    def _open_streams(self, call: Call, message: dict[str, Any]) -> bool:
        """Open the streams of an answer, or reset them if nobody waits for it. Return false if one is invalid."""
        if call.request.command is None or not call.request.command.streams:
            return True
        value = message.get("return")
        routes = self._routes.open(call.client, call.request.command.streams, value, call.request.arguments)
        if routes is not None and call.muted:
            for route in routes:
                self._guest.send_frame(call.client, route.reset("the client has left"))
                self._routes.remove(route)
        return routes is not None

    def _receive_guest_frame(self, frame: Frame) -> None:
        route = self._routes.find(frame.stream)
        if route is None:
            # It may have been sent before the guest saw that the stream was reset.
            return
        try:
            pieces = route.from_guest(frame)
            for number, value in route.announced():
                self._routes.announce(route, number, value)
        except StreamViolation as error:
            pieces = (route.reset(f"the guest broke the protocol: {error}", EPROTO),)
            self._guest.send_frame(route.client, route.reset(str(error), EPROTO))
        route.client.port.send(*pieces)
        self._forget_if_over(route)

    def _forget_if_over(self, route: Route) -> None:
        if route.is_over:
            self._routes.remove(route)
            self._close_if_done(route.client)


def _error_text(message: dict[str, Any]) -> str:
    """Return the text of an error answer, or an empty string for another answer."""
    try:
        error = make_any_answer(message).error
    except MessageError as problem:
        return str(problem)
    return "" if error is None else error.text[:_ERROR_MAX] or f"error {error.code}"
