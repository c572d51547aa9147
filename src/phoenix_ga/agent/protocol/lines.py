"""Lines to calls: which dialect a request is in, by its own form."""

from __future__ import annotations

from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.protocol.dialect import CommandError
from phoenix_ga.agent.protocol.dispatch import Call
from phoenix_ga.agent.protocol.long_requests import LONG, decode_long_request
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG, MessageError, Request
from phoenix_ga.wire.objects import split_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.protocol.dialect import Dialect

# How the names of the QEMU Guest Agent's commands begin, and none of ours does.
GUEST_PREFIX: Final = "guest-"
# A longer line is not kept: hardly anybody repeats it.
_KEPT_MAX: Final = 512


class LineReader:
    """Reads the lines of one client.

    load_qga: returns the dialect of the QEMU Guest Agent. qga_first: whoever has said nothing that is
    understood speaks to the QEMU Guest Agent.
    """

    def __init__(self, load_qga: Callable[[], Dialect], qga_first: bool) -> None:
        self._load_qga = load_qga
        # None: that of the QEMU Guest Agent, which is loaded with the first request, for many are never asked.
        self._dialect: Dialect | None = None if qga_first else NATIVE
        # The last plain line, and what it said: whoever reads a file or waits for something says it again and again.
        self._line = b""
        self._last: Call | None = None

    @property
    def dialect(self) -> Dialect:
        """That of the last request that was understood; what is not understood is answered in it."""
        if self._dialect is None:
            self._dialect = self._load_qga()
        return self._dialect

    @property
    def spans_lines(self) -> bool:
        """Whether its objects may go over several lines."""
        return self._dialect is not NATIVE

    def read_plain(self, line: bytes) -> Call | None:
        """Return the call of a line that is plain JSON, else None."""
        if line == self._line:
            last = self._last
            if last is not None and last.repeatable:
                self._dialect = last.dialect
                return last.again()
        try:
            message = _decode(line)
        except Exception:
            return None
        call = self._call(message, len(line))
        if len(line) <= _KEPT_MAX:
            self._line, self._last = line, call
        return call

    def read(self, line: bytes) -> list[Call]:
        """Return the calls that stand on a line, with an error for what is no request."""
        try:
            message = _decode(line)
        except JsonError as error:
            return self._read_strange(line, error)
        except Exception as error:
            # No line, whatever is on it, may end the agent.
            return [Call(None, len(line), error, self.dialect)]
        return [self._call(message, len(line))]

    def _call(self, message: Any, size: int) -> Call:
        dialect = self._dialect
        name = message.get("execute") if type(message) is dict else None
        if type(name) is str:
            if name.startswith(GUEST_PREFIX):
                if dialect is NATIVE or dialect is None:
                    dialect = self._dialect = self._load_qga()
            elif "tag" in message or name in BY_NAME:
                dialect = self._dialect = NATIVE
        if dialect is None:
            dialect = self.dialect
        try:
            return Call(dialect.request(message), size, None, dialect)
        except MessageError as error:
            return self._failed(str(error), error.tag, size)
        except Exception as error:
            return Call(None, size, error, self.dialect)

    def _failed(self, text: str, tag: Any, size: int) -> Call:
        # The tag tells which request was wrong, where there was one to be read.
        return Call(Request("", {}, tag), size, CommandError(text, NO_CODE), self.dialect)

    def _read_strange(self, line: bytes, error: JsonError) -> list[Call]:
        """Read what is no plain JSON: QEMU takes more than that, and several objects on a line."""
        from phoenix_ga.agent.dialects.qga.json_reader import ReadError, read_values

        values = list(read_values(line))
        if self.dialect is NATIVE and not any(map(_is_guest_request, values)):
            return self._read_apart(line) or [self._failed(str(error), NO_TAG, len(line))]
        size = len(line) // len(values) if values else 0
        return [
            self._failed(str(value), NO_TAG, size) if isinstance(value, ReadError) else self._call(value, size)
            for value in values
        ]

    def _read_apart(self, line: bytes) -> list[Call]:
        """Return the calls of several objects on a line, each as if it had come alone; none where there are none."""
        parts = split_objects(line)
        calls = [call for part in parts for call in self.read(part)] if len(parts) > 1 else []
        return calls if any(call.error is None for call in calls) else []


def _decode(line: bytes) -> Any:
    message = decode_long_request(line) if len(line) > LONG else None
    return decode_json(line) if message is None else message


def _is_guest_request(value: Any) -> bool:
    return type(value) is dict and type(value.get("execute")) is str and value["execute"].startswith(GUEST_PREFIX)
