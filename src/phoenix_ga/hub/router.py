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
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

from phoenix_ga.client.errors import ConnectionLostError
from phoenix_ga.hub.catalogue import LOCAL, find_command, is_answered
from phoenix_ga.hub.messages import ClientRequest, read_line
from phoenix_ga.hub.routes import Route, Routes
from phoenix_ga.wire.declaration import Command
from phoenix_ga.wire.frames import RESET
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import ANSWER_ELEMENTS_MAX, NO_CODE, encode_error
from phoenix_ga.wire.streams import LINK_LOST, UNKNOWN_STREAM, Stream, StreamViolation
from phoenix_ga.wire.units import Frame, Line, Parser

if TYPE_CHECKING:
    from phoenix_ga.wire.units import Unit

# Requests of one client that the guest works on at a time; freezing, thawing and what cannot block does not count.
# The guest runs 16 for all clients together.
_IN_FLIGHT_MAX: Final = 8
# Bytes of a client's requests that wait; beyond, the hub stops reading from the client.
_QUEUED_MAX: Final = 16 * 1024 * 1024
_REQUEST_OVERHEAD: Final = 1024


class ClientPort(Protocol):
    """Where a client's bytes go."""

    def send(self, data: bytes) -> None:
        """Send bytes without waiting."""

    def close(self) -> None:
        """Send what is left, then close the connection."""


class GuestPort(Protocol):
    """Where the guest's bytes go."""

    def send(self, line: bytes) -> None:
        """Send a line, before any frame."""

    def send_frame(self, client: Client, frame: bytes) -> None:
        """Send a frame; clients take turns."""


class Call:
    """A request on its way.

    Attributes:
        client: who sent it.
        request: as the client sent it.
        command: its declaration; None for a command that this version does not know.
        size: of the request, in bytes.
        muted: nobody waits for its answer.
        is_silent: only failure is answered.
    """

    __slots__ = ("client", "command", "is_silent", "muted", "request", "size")

    def __init__(self, client: Client, request: ClientRequest, size: int) -> None:
        self.client = client
        self.request = request
        self.command: Command | None = find_command(request.request.execute)
        self.size = size + _REQUEST_OVERHEAD
        self.muted = False
        self.is_silent = not is_answered(request.request.execute)

    @property
    def is_quick(self) -> bool:
        """Whether the agent answers it however busy it is."""
        return self.command is not None and (self.command.inline or self.command.urgent)


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
        self.may_use = may_use
        self.parser = Parser()
        self.session = secrets.randbits(53)
        # Requests that wait: those that are answered at once, those that are answered in order, and the others.
        self.quick: deque[Call] = deque()
        self.ordered: deque[Call] = deque()
        self.tagged: deque[Call] = deque()
        self.queued = 0
        self.in_flight: set[Call] = set()
        # The tags of those that only failure is answered to.
        self.silent: list[str] = []
        self.ordered_in_flight = 0
        self.ending = False
        self.left = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read from it for now."""
        return self.queued > _QUEUED_MAX

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
        self._prefix = f"hub-{secrets.token_hex(4)}-"
        self._numbers = count(1)
        self._calls: dict[str, Call] = {}
        self._routes = Routes()
        # Which dialects the guest speaks; None while it is not connected.
        self._native: bool | None = None
        # Calls of the QEMU dialect, one of which the guest works on at a time.
        self._turn: str | None = None
        self._waiting_for_turn: deque[Client] = deque()
        self.clients: set[Client] = set()

    @property
    def owes(self) -> bool:
        """Whether the guest owes an answer or the end of a stream."""
        return bool(self._routes) or any(not call.is_silent for call in self._calls.values())

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
        for call in client.in_flight:
            call.muted = True
        self._end_silent(client)
        self._drop_streams(client)

    def receive(self, client: Client, data: bytes) -> None:
        """Process bytes of a client."""
        client.parser.receive(data)
        for unit in client.parser:
            if client.left:
                return
            if isinstance(unit, Frame):
                self._receive_client_frame(client, unit)
            elif isinstance(unit, Line):
                self._receive_line(client, unit.data)
            else:
                client.port.send(encode_error(unit.text, unit.code))
        self._pump(client)

    def _receive_line(self, client: Client, line: bytes) -> None:
        for request in read_line(line):
            if isinstance(request, bytes):
                client.port.send(request)
            else:
                client.parser.spans_lines = request.is_qemu
                self._queue(Call(client, request, len(line)))

    def _queue(self, call: Call) -> None:
        client = call.client
        execute = call.request.request.execute
        if execute == "sync":
            self._begin_session(client)
        if not client.may_use or execute == "get-session":
            # A stranger gets its refusals, but does not open the port. A client that waits for the guest may go on
            # waiting: the hub keeps its requests.
            client.queued += call.size
            self._send(call)
            return
        if self._native is None:
            self._wanted()
        # A tagged request on a file handle may not overtake an earlier one that waits for its turn.
        waits = (
            call.command is not None and bool(call.command.handle) and (client.ordered or client.ordered_in_flight)
        )
        is_local = execute in LOCAL
        if is_local and not call.request.is_qemu:
            client.quick.append(call)
        elif call.request.is_ordered or waits:
            client.ordered.append(call)
        elif call.is_quick:
            client.quick.append(call)
        else:
            client.tagged.append(call)
        client.queued += call.size

    def _begin_session(self, client: Client) -> None:
        """Forget what the client has asked: it still runs, but is not answered."""
        for call in (*client.in_flight, *client.waiting):
            call.muted = True
        self._drop_streams(client)

    def _pump(self, client: Client) -> None:
        """Send the requests of a client whose turn it is."""
        while self._native is not None and client.quick:
            self._send(client.quick.popleft())
        while self._native is not None and client.tagged and len(client.in_flight) < _IN_FLIGHT_MAX:
            self._send(client.tagged.popleft())
        while self._native is not None and client.ordered and not client.ordered_in_flight:
            call = client.ordered[0]
            if call.request.is_qemu and call.request.request.execute not in LOCAL and not self._may_take_turn(call):
                break
            client.ordered.popleft()
            self._send(call)
        self._close_if_done(client)

    def _may_take_turn(self, call: Call) -> bool:
        """Return whether a call of the QEMU dialect may be sent; if not, its client waits for its turn."""
        # Our agent thaws even if an earlier request hangs.
        if self._turn is None or (self._native and call.is_quick):
            return True
        if call.client not in self._waiting_for_turn:
            self._waiting_for_turn.append(call.client)
        return False

    def _send(self, call: Call) -> None:
        client, request = call.client, call.request.request
        client.queued -= call.size
        if request.execute in LOCAL:
            self._answer_local(call)
            return
        refusal = self._observer.refusal(client, call.request)
        code = EPERM
        if not refusal and not self._native and not call.request.is_qemu:
            refusal, code = "this guest's agent speaks only the dialect of the QEMU Guest Agent", EOPNOTSUPP
        if refusal:
            if not call.muted:
                client.port.send(call.request.refuse(refusal, code))
            return
        tag = f"{self._prefix}{next(self._numbers)}"
        self._observer.begun(call)
        self._calls[tag] = call
        if call.is_silent:
            client.silent.append(tag)
        else:
            client.in_flight.add(call)
            client.ordered_in_flight += call.request.is_ordered
            if call.request.is_qemu and self._turn is None:
                self._turn = tag
        self._guest.send(call.request.forward(tag))

    def _answer_local(self, call: Call) -> None:
        client, request = call.client, call.request.request
        if call.muted:
            return
        number = request.arguments.get("id")
        if request.execute == "get-session":
            number = client.session
        elif type(number) is not int or set(request.arguments) != {"id"}:
            client.port.send(call.request.refuse("the only argument is 'id', an integer", NO_CODE))
            return
        else:
            client.session = number
        client.port.send(call.request.answer_return(number))

    def _receive_client_frame(self, client: Client, frame: Frame) -> None:
        route = self._routes.find(frame.stream, client)
        if route is None:
            if frame.type != RESET:
                unknown = Stream(frame.stream, credit=0, window=0).reset("there is no such stream", UNKNOWN_STREAM)
                client.port.send(unknown)
            return
        self._guest.send_frame(client, route.from_client(frame))
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
        calls, self._calls = self._calls, {}
        self._turn = None
        self._waiting_for_turn.clear()
        for route in self._routes.clear():
            route.client.port.send(route.reset(reason, LINK_LOST))
        for call in calls.values():
            if call.is_silent:
                # A guest that was to shut down did so.
                self._observer.ended(call, "")
            else:
                self._ended(call, call.request.refuse(reason, LINK_LOST), reason)
        for client in list(self.clients):
            self._close_if_done(client)
        if any(client.waiting for client in self.clients):
            self._wanted()

    def receive_from_guest(self, unit: Unit) -> None:
        """Process a unit from the guest. Raises ConnectionLostError if the connection cannot be used any more."""
        if isinstance(unit, Frame):
            self._receive_guest_frame(unit)
        elif isinstance(unit, Line):
            self._receive_answer(unit.data)
        else:
            raise ConnectionLostError(f"the guest sent unexpected data: {unit.text}")

    def _receive_answer(self, line: bytes) -> None:
        try:
            message = decode_json(line, ANSWER_ELEMENTS_MAX)
        except JsonError as error:
            raise ConnectionLostError(f"the guest sent an invalid answer: {error}") from None
        if not isinstance(message, dict):
            raise ConnectionLostError("the guest sent an answer that is not an object")
        tag = message.get("tag", message.get("id"))
        if tag is None:
            # What qemu-ga cannot parse, it answers without an ID.
            tag = self._turn
        call = self._calls.pop(tag, None) if isinstance(tag, str) else None
        if call is None:
            return
        if tag == self._turn:
            self._turn = None
        if call.request.is_qemu and not call.is_silent:
            self._end_silent(call.client)
        text = _error_text(message)
        if not text and not self._open_streams(call, message):
            self._ended(call, call.request.refuse("the guest's answer has invalid streams", EPROTO), "invalid answer")
        else:
            self._ended(call, call.request.answer(message), text)
        self._pump(call.client)
        while self._turn is None and self._waiting_for_turn:
            self._pump(self._waiting_for_turn.popleft())

    def _end_silent(self, client: Client) -> None:
        """Note that silent requests have succeeded: answers of this dialect come in order, and a later one came."""
        for tag in client.silent:
            call = self._calls.pop(tag, None)
            if call is not None:
                self._observer.ended(call, "")
        client.silent.clear()

    def _ended(self, call: Call, answer: bytes, error: str) -> None:
        client = call.client
        if not call.is_silent:
            client.in_flight.discard(call)
            client.ordered_in_flight -= call.request.is_ordered
        self._observer.ended(call, error)
        if not call.muted:
            client.port.send(answer)

    def _open_streams(self, call: Call, message: dict[str, Any]) -> bool:
        """Open the streams of an answer, or reset them if nobody waits for it. Return false if one is invalid."""
        if call.command is None or not call.command.streams:
            return True
        value = message.get("return")
        routes = self._routes.open(call.client, call.command.streams, value, call.request.request.arguments)
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
            data = route.from_guest(frame)
            for number, value in route.announced():
                self._routes.announce(route, number, value)
        except StreamViolation as error:
            data = route.reset(f"the guest broke the protocol: {error}", EPROTO)
            self._guest.send_frame(route.client, route.reset(str(error), EPROTO))
        route.client.port.send(data)
        self._forget_if_over(route)

    def _forget_if_over(self, route: Route) -> None:
        if route.is_over:
            self._routes.remove(route)
            self._close_if_done(route.client)


def _error_text(message: dict[str, Any]) -> str:
    """Return the text of an error answer, or an empty string for another answer."""
    if "error" not in message:
        return ""
    error = message["error"]
    text = error.get("desc") or f"error {error.get('code')}" if isinstance(error, dict) else ""
    return str(text)[:200] or "error"
