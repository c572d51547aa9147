"""Read calls from lines. The form of each request shows its dialect."""

from __future__ import annotations

from sys import modules

from phoenix_ga.agent.protocol.call import Call, CommandError
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG, MessageError, Request
from phoenix_ga.wire.objects import split_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.protocol.dialect import Dialect
    from phoenix_ga.agent.protocol.dispatch import Dispatcher

# All names of the QEMU Guest Agent's commands begin with this, and no native name does.
_GUEST_PREFIX: Final = "guest-"
# Imported when a line first needs it.
_LENIENT: Final = "phoenix_ga.agent.protocol.json_reader"
# The longest line for the lenient reader, which is slow.
_LENIENT_MAX: Final = 4 * 1024 * 1024
_BRACE: Final = ord("{")
_NEWLINE: Final = ord("\n")


class NotLoadedError(Exception):
    """A line needs modules that must be imported first, by a worker: the disk may hang.

    Args:
        load: Imports them.
    """

    def __init__(self, load: Callable[[], object]) -> None:
        super().__init__()
        self.load = load


def whole_line(data: memoryview, limit: int) -> bytes | None:
    """Return the bytes of `data` if they are one line that may hold an object, so that it can skip the parser."""
    size = len(data)
    if size > limit or data[0] != _BRACE or data[-1] != _NEWLINE:
        return None
    line = bytes(data)
    return line if line.find(b"\n") == size - 1 else None


class LineReader:
    """Reads the lines of one client. All methods raise NotLoadedError, before they have had any effect.

    Args:
        dispatcher: Has the dialects.
        qga_first: Before its first valid request, a client is assumed to speak the QEMU Guest Agent's dialect.
    """

    def __init__(self, dispatcher: Dispatcher, qga_first: bool) -> None:
        self._dispatcher = dispatcher
        self._native = dispatcher.native
        # None: the QEMU Guest Agent's, which is loaded with the first request.
        self._dialect: Dialect | None = None if qga_first else self._native

    @property
    def dialect(self) -> Dialect:
        """The dialect of the last valid request, in which invalid ones are answered."""
        if self._dialect is None:
            self._dialect = self._qga
        return self._dialect

    @property
    def _qga(self) -> Dialect:
        dialect = self._dispatcher.qga
        if dialect is None:
            raise NotLoadedError(self._dispatcher.load_qga)
        return dialect

    @property
    def speaks_qga(self) -> bool:
        """Whether the client is taken for one of the QEMU Guest Agent."""
        return self._dialect is not self._native

    @property
    def spans_lines(self) -> bool:
        """Whether an object may contain newlines."""
        return self._dialect is not self._native

    def read_plain(self, line: bytes) -> Call | None:
        """Return the call of a line that is one valid JSON text, else None."""
        try:
            message = decode_json(line)
        except Exception:
            return None
        return self._call(message, len(line))

    def read(self, line: bytes) -> list[Call]:
        """Return the calls on a line; what is not a request becomes a call with an error."""
        try:
            message = decode_json(line)
        except JsonError as error:
            return self._read_lenient(line, error)
        except Exception as error:
            # No line may end the agent, whatever it contains.
            return [Call(None, len(line), self.dialect, error)]
        return [self._call(message, len(line))]

    def _call(self, message: Any, size: int) -> Call:
        dialect = self._dialect
        name = message.get("execute") if type(message) is dict else None
        if type(name) is str:
            if name.startswith(_GUEST_PREFIX):
                if dialect is self._native or dialect is None:
                    dialect = self._dialect = self._qga
            elif "tag" in message or name in self._native.commands:
                dialect = self._dialect = self._native
        if dialect is None:
            dialect = self.dialect
        try:
            return Call(dialect.request(message), size, dialect)
        except MessageError as error:
            return self._failed(str(error), error.tag, size)
        except Exception as error:
            return Call(None, size, self.dialect, error)

    def _failed(self, text: str, tag: Any, size: int) -> Call:
        # The tag, if it could be read, identifies the request for the client.
        return Call(Request("", {}, tag), size, self.dialect, CommandError(text, NO_CODE))

    def _read_lenient(self, line: bytes, error: JsonError) -> list[Call]:
        """Read a line that is not plain JSON: QEMU accepts more, and several objects on a line."""
        if len(line) > _LENIENT_MAX:
            return [self._failed(str(error), NO_TAG, len(line))]
        if _LENIENT not in modules:
            raise NotLoadedError(lambda: __import__(_LENIENT))
        from phoenix_ga.agent.protocol.json_reader import ReadError, read_values

        try:
            values = list(read_values(line))
            if self.dialect is self._native and not any(map(_is_guest_request, values)):
                return self._read_each(line) or [self._failed(str(error), NO_TAG, len(line))]
        except JsonError as refused:
            return [self._failed(str(refused), NO_TAG, len(line))]
        size = len(line) // len(values) if values else 0
        return [
            self._failed(str(value), NO_TAG, size) if isinstance(value, ReadError) else self._call(value, size)
            for value in values
        ]

    def _read_each(self, line: bytes) -> list[Call]:
        """Return the calls of several objects on one line, or none if there are not several."""
        parts = split_objects(line)
        calls = [call for part in parts for call in self.read(part)] if len(parts) > 1 else []
        return calls if any(call.error is None for call in calls) else []


def _is_guest_request(value: Any) -> bool:
    return type(value) is dict and type(value.get("execute")) is str and value["execute"].startswith(_GUEST_PREFIX)
