"""Requests with one long argument in base64, which are read without the JSON parser's way through it."""

from __future__ import annotations

from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.messages import decode_plain_base64, keep_decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

#: A string that is as long as that is worth it.
LONG: Final = 4096
# What is decoded now is kept until a worker takes it.
_LONG_MAX: Final = 1024 * 1024
# Before the long string there are some short ones, each of two quotes.
_QUOTES_MAX: Final = 40
# What stands in its place for the parser, and nowhere else: not even by escapes.
_PLACEHOLDER: Final = "<long>"
_ENCODED: Final = b"<long>"


def decode_long_request(line: bytes) -> Any | None:
    """Return what `decode_json` would; None where the line has no long argument in plain base64.

    Decoding base64 shows that there is nothing else in it, such as an escape, or the end of the string.
    """
    start = _long_string(line)
    end = line.find(b'"', start, start + _LONG_MAX) if start else -1
    if end < 0:
        return None
    short = line[:start] + _ENCODED + line[end:]
    if short.count(_ENCODED) > 1 or b"\\" in short:
        return None
    try:
        text = str(memoryview(line)[start:end], "ascii")
        message = decode_json(short)
    except (JsonError, UnicodeDecodeError):
        return None
    arguments = message.get("arguments") if type(message) is dict else None
    if type(arguments) is not dict:
        return None
    name = next((name for name, value in arguments.items() if value == _PLACEHOLDER), None)
    data = decode_plain_base64(text) if name is not None else None
    if data is None:
        return None
    arguments[name] = text
    keep_decoded(text, data)
    return message


def _long_string(line: bytes) -> int:
    """Return where the first long string begins, behind its quote, or 0."""
    start = 0
    for _ in range(_QUOTES_MAX):
        start = line.find(b'"', start) + 1
        if not start or line.find(b'"', start, start + LONG) < 0:
            return start
    return 0
