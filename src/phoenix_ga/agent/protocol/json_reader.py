"""A JSON reader that accepts what QEMU accepts, such as single quotes, and reports the same errors.

It is used only after the usual decoder has failed, because it is much slower. Source: QEMU, qobject/json-lexer.c,
json-streamer.c and json-parser.c.
"""

from __future__ import annotations

from phoenix_ga.wire.objects import OBJECTS_MAX, too_many_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

_WHITE: Final = b" \t\r\n"
_PUNCTUATION: Final = b"{}[],:"
_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = b"0123456789"
# Bytes that end an invalid token: control characters, 0xFE, 0xFF and punctuation.
_RECOVERED: Final = bytes(range(0x20)) + b"\xfe\xff" + _PUNCTUATION
_LOST: Final = bytes(byte for byte in range(256) if byte not in _RECOVERED)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
_KEYWORDS: Final = {"true": True, "false": False, "null": None}
_SEPARATORS: Final = _WHITE + b"\xfe\xff"
_IN_STRINGS: Final = bytes(range(0x20, 0xFE))
_NESTING_MAX: Final = 200
# Far more than OBJECTS_MAX requests have, and few enough for the loop.
_TOKENS_MAX: Final = 20_000
_PIECE: Final = 4096

_STRING: Final = "string"
_NUMBER: Final = "number"
_KEYWORD: Final = "keyword"
_ERROR: Final = "error"


class ReadError(ValueError):
    """A text is not JSON; the message is QEMU's."""

    def __init__(self, text: str) -> None:
        super().__init__(f"JSON parse error, {text}")


def read_values(line: bytes) -> Iterator[Any]:
    """Yield each JSON value of a line, and a ReadError for each piece that is not one.

    Raises:
        JsonError: after OBJECTS_MAX of them.
    """
    for count, value in enumerate(_read_values(line)):
        if count == OBJECTS_MAX:
            raise too_many_objects()
        yield value


def _read_values(line: bytes) -> Iterator[Any]:
    tokens: list[tuple[str, str]] = []
    braces = brackets = 0
    for count, (kind, text) in enumerate(_tokens(line)):
        if count == _TOKENS_MAX:
            yield ReadError("token count limit exceeded")
            return
        if kind is _ERROR:
            yield ReadError(f"stray '{text}'")
        else:
            tokens.append((kind, text))
            braces += (kind == "{") - (kind == "}")
            brackets += (kind == "[") - (kind == "]")
            if max(braces, brackets) > 0 and min(braces, brackets) >= 0:
                if braces + brackets <= _NESTING_MAX:
                    continue
                yield ReadError("nesting depth limit exceeded")
            else:
                try:
                    yield _Values(tokens).value()
                except ReadError as error:
                    yield error
        tokens.clear()
        braces = brackets = 0
    if tokens:
        yield ReadError("premature EOI")


def _tokens(line: bytes) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each token."""
    position = 0
    while (start := _skip(line, position, _SEPARATORS)) < len(line):
        first = line[start]
        position = start + 1
        whole = True
        if first in _PUNCTUATION:
            kind = chr(first)
        elif first in b"\"'":
            kind = _STRING
            position, whole = _string_end(line, position, first)
        elif first in _LETTERS:
            kind = _KEYWORD
            position = _skip(line, position, _LETTERS)
        elif first in _DIGITS or first == 0x2D:
            kind = _NUMBER
            position, whole = _number_end(line, start)
        else:
            whole = False
        text = line[start:position].decode("utf-8", "surrogateescape")
        if whole:
            yield kind, text
        else:
            yield _ERROR, text
            position = _skip(line, position, _LOST)


def _skip(line: bytes, position: int, characters: bytes) -> int:
    """Return the index of the first byte that is not one of `characters`."""
    while True:
        piece = line[position : position + _PIECE]
        rest = len(piece.lstrip(characters))
        position += len(piece) - rest
        if rest or not piece:
            return position


def _string_end(line: bytes, position: int, quote: int) -> tuple[int, bool]:
    """Return the index after a string, and whether the string is complete."""
    while position < len(line):
        end = line.find(quote, position, position + _PIECE)
        piece = line[position : position + _PIECE if end < 0 else end + 1]
        if b"\\" in piece:
            # Hide escaped quotes, and keep the length.
            piece = line[position : position + _PIECE].replace(b"\\\\", b"  ").replace(b"\\%c" % quote, b"  ")
        end = piece.find(quote)
        text = piece if end < 0 else piece[:end]
        rest = text.lstrip(_IN_STRINGS)
        if rest:
            return position + len(text) - len(rest) + 1, False
        if end >= 0:
            return position + end + 1, True
        # A backslash at the end escapes the first byte of the next piece.
        position += len(piece) - (len(piece) == _PIECE and piece.endswith(b"\\"))
    return len(line), False


def _number_end(line: bytes, start: int) -> tuple[int, bool]:
    """Return the index after a number, and whether the number is complete."""
    position = start + (line[start] == 0x2D)
    end = _skip(line, position, _DIGITS)
    if end == position or (line[position] == 0x30 and end > position + 1):
        return min(max(end, position + 1), len(line)), False
    for sign, leading in ((b".", b""), (b"eE", b"+-")):
        if end < len(line) and line[end] in sign:
            position = end + 1
            if leading and position < len(line) and line[position] in leading:
                position += 1
            end = _skip(line, position, _DIGITS)
            if end == position:
                return min(end + 1, len(line)), False
    return end, True


class _Values:
    """Converts tokens to a value."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = iter(tokens)

    def value(self) -> Any:
        """Return the value that the tokens begin with. Raises ReadError."""
        return self._value(self._next())

    def _next(self) -> tuple[str, str]:
        for token in self._tokens:
            return token
        raise ReadError("premature EOI")

    def _value(self, token: tuple[str, str]) -> Any:
        kind, text = token
        if kind == "{":
            return self._object()
        if kind == "[":
            return self._list()
        if kind is _STRING:
            return _unescape(text)
        if kind is _NUMBER:
            return _number(text)
        if kind is _KEYWORD:
            if text not in _KEYWORDS:
                raise ReadError(f"invalid keyword '{text}'")
            return _KEYWORDS[text]
        raise ReadError("expecting value")

    def _object(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        token = self._next()
        if token[0] == "}":
            return members
        while True:
            name = self._value(token)
            if type(name) is not str:
                raise ReadError("key is not a string in object")
            if self._next()[0] != ":":
                raise ReadError("missing : in object pair")
            value = self._value(self._next())
            if name in members:
                raise ReadError("duplicate key")
            members[name] = value
            kind = self._next()[0]
            if kind == "}":
                return members
            if kind != ",":
                raise ReadError("expected separator in dict")
            token = self._next()

    def _list(self) -> list[Any]:
        elements: list[Any] = []
        token = self._next()
        if token[0] == "]":
            return elements
        while True:
            elements.append(self._value(token))
            kind = self._next()[0]
            if kind == "]":
                return elements
            if kind != ",":
                raise ReadError("expected separator in list")
            token = self._next()


def _number(text: str) -> Any:
    if len(text) <= 20 and not set(text) - set("-0123456789"):
        return int(text)
    value = float(text)
    if value - value != 0:
        raise ReadError("number is out of range")
    return value


def _unescape(text: str) -> str:
    """Return the value of a string in quotes. Raises ReadError."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ReadError("invalid UTF-8 sequence in string") from None
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    pieces = []
    position = 0
    while (escape := inner.find("\\", position)) >= 0:
        pieces.append(inner[position:escape])
        letter = inner[escape + 1 : escape + 2]
        position = escape + 2
        if letter == "u":
            character = _unicode(text, escape + 1)
            position += 10 if character > "\uffff" else 4
            pieces.append(character)
        elif letter in _ESCAPES:
            pieces.append(_ESCAPES[letter])
        else:
            raise ReadError("invalid escape sequence in string")
    pieces.append(inner[position:])
    return "".join(pieces)


def _unicode(text: str, start: int) -> str:
    """Return the character of the escape at `start`, or of two escapes above U+FFFF. Raises ReadError."""
    number = _hexadecimal(text, start)
    if 0xD800 <= number <= 0xDBFF:
        low = _hexadecimal(text, start + 6)
        if 0xDC00 <= low <= 0xDFFF:
            return chr(0x10000 + ((number - 0xD800) << 10) + low - 0xDC00)
    if not 0 < number < 0xD800 and not 0xE000 <= number < 0xFFFE:
        raise ReadError(f"{text[start : start + 6]} is not a valid Unicode character")
    return chr(number)


def _hexadecimal(text: str, start: int) -> int:
    """Return the number of an escape, or -1 if it is not an escape."""
    digits = text[start + 2 : start + 6]
    if text[start : start + 2] != "\\u" or len(digits) < 4 or set(digits) - _HEXADECIMAL:
        return -1
    return int(digits, 16)
