"""The open streams of a guest, each with the client to whom it belongs. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.client.errors import ConnectionLostError
from phoenix_ga.wire.commands import WINDOW_DEFAULT, WINDOW_MAX
from phoenix_ga.wire.declaration import StreamMember
from phoenix_ga.wire.frames import END, RESET, WINDOW, encode_header
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import NO_CODE
from phoenix_ga.wire.streams import UNKNOWN_STREAM, Data, End, Reset, Stream, StreamViolation
from phoenix_ga.wire.units import Frame

if TYPE_CHECKING:
    from phoenix_ga.hub.router import Client

# The longest line that announces a stream, in bytes.
_ANNOUNCEMENT_MAX: Final = 4096
_STREAMS_MAX: Final = 65536


class Route:
    """A stream between the guest and a client.

    Attributes:
        client: whose stream it is.
        number: of the stream, on both sides.
    """

    __slots__ = ("_announcements", "_member", "_stream", "_window", "client", "number")

    def __init__(self, client: Client, number: int, member: StreamMember, window: int) -> None:
        self.client = client
        self.number = number
        self._member = member
        self._window = window
        # The client's view. The agent checks the client's credit.
        self._stream = Stream(number, credit=0, window=window, sends=member.sends, skips=True)
        # An agent may send only after the first WINDOW if the window is 0.
        self._stream.receiving = True
        self._announcements = bytearray() if member.announces else None

    @property
    def is_over(self) -> bool:
        """Whether both directions have ended."""
        return self._stream.over

    def from_guest(self, frame: Frame) -> tuple[bytes | memoryview, ...]:
        """Return the pieces of a frame for the client. Raises StreamViolation and ConnectionLostError."""
        event = self._stream.receive(frame)
        if isinstance(event, Data) and self._announcements is not None:
            self._announcements += event.payload
        elif isinstance(event, End) and self._member.ends_both:
            self._stream.sending = False
        elif isinstance(event, Reset) and event.error.code == UNKNOWN_STREAM:
            raise ConnectionLostError("the agent was restarted, or the guest was reset")
        return _encode(frame)

    def announced(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Return the number and the announcement of each further stream. Raises StreamViolation."""
        while self._announcements and (end := self._announcements.find(b"\n")) >= 0:
            line = bytes(self._announcements[:end])
            del self._announcements[: end + 1]
            try:
                value = decode_json(line)
            except JsonError as error:
                raise StreamViolation(f"announcement: {error}") from None
            if isinstance(value, dict) and "refused" not in value:
                yield value.get("stream", 0), value
        if self._announcements is not None and len(self._announcements) > _ANNOUNCEMENT_MAX:
            raise StreamViolation("the announcement of a connection is too long")

    def from_client(self, frame: Frame) -> tuple[bytes | memoryview, ...]:
        """Return the pieces of a frame of the client for the guest."""
        if frame.type == WINDOW and len(frame.payload) == 4:
            self._stream.allow(int.from_bytes(frame.payload, "big"))
        elif frame.type == END:
            self._stream.sending = False
        elif frame.type == RESET:
            self._stream.sending = self._stream.receiving = False
        return _encode(frame)

    def reset(self, text: str, code: int = NO_CODE) -> bytes:
        """End both directions, and return the frame that tells one side."""
        return self._stream.reset(text, code)

    def open_announced(self, number: int) -> Route:
        """Return the route of a stream that was announced on this one."""
        return Route(self.client, number, _ACCEPTED, self._window)


_ACCEPTED: Final = StreamMember("stream", sends=True)


class Routes:
    """All open streams of a guest."""

    def __init__(self) -> None:
        self._by_number: dict[int, Route] = {}
        self._by_client: dict[Client, dict[int, Route]] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def find(self, number: int, client: Client | None = None) -> Route | None:
        """Return a stream by its number, of any client or of one."""
        route = self._by_number.get(number)
        return route if route is None or client in (None, route.client) else None

    def of(self, client: Client) -> list[Route]:
        """Return the streams of a client."""
        return list(self._by_client.get(client, {}).values())

    def open(
        self, client: Client, members: tuple[StreamMember, ...], value: Any, arguments: Mapping[str, Any]
    ) -> list[Route] | None:
        """Open the streams that an answer names; return None, and open none, if the answer is invalid."""
        window = arguments.get("window", WINDOW_DEFAULT)
        if not isinstance(value, dict) or type(window) is not int or not 0 <= window <= WINDOW_MAX:
            return None
        routes = [
            Route(client, value[member.name], member, window)
            for member in members
            if self._is_free(value.get(member.name))
        ]
        named = [member.name for member in members if member.name in value]
        if not named or len({route.number for route in routes}) < len(named):
            return None
        for route in routes:
            self._add(route)
        return routes

    def announce(self, listener: Route, number: Any, value: Mapping[str, Any]) -> None:
        """Open a stream that was announced on another one. Raises StreamViolation."""
        if not self._is_free(number):
            raise StreamViolation(f"invalid announcement {str(value)[:100]}")
        self._add(listener.open_announced(number))

    def remove(self, route: Route) -> None:
        """Forget a stream."""
        self._by_number.pop(route.number, None)
        routes = self._by_client.get(route.client, {})
        routes.pop(route.number, None)
        if not routes:
            self._by_client.pop(route.client, None)

    def clear(self) -> list[Route]:
        """Forget all streams, and return them."""
        routes = list(self._by_number.values())
        self._by_number.clear()
        self._by_client.clear()
        return routes

    def _is_free(self, number: Any) -> bool:
        return (
            type(number) is int
            and 0 < number < 2**32
            and number not in self._by_number
            and len(self._by_number) < _STREAMS_MAX
        )

    def _add(self, route: Route) -> None:
        self._by_number[route.number] = route
        self._by_client.setdefault(route.client, {})[route.number] = route


def _encode(frame: Frame) -> tuple[bytes | memoryview, ...]:
    return encode_header(frame.type, frame.stream, len(frame.payload)), frame.payload
