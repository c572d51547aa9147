"""A strict reader of the small part of YAML that network configurations are written in; JSON is part of it.

Block mappings and lists, flow lists and mappings on one line, quoted and plain scalars, comments. Everything else,
such as anchors, tags, block scalars and several documents, is an error that names the line: nothing is guessed.
"""

from __future__ import annotations

from errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

SIZE_MAX: Final = 1024 * 1024
_DEPTH_MAX: Final = 40
_WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}
# With these, a plain scalar would begin something that is not understood here.
_SPECIAL: Final = frozenset("&*!|>%@`?,]}#")


def parse_yaml(text: str) -> Any:
    """Return the value that a text describes: dict, list, str, int, bool or None.

    Raises:
        OSError: EINVAL, with the number of the line.
    """
    if len(text) > SIZE_MAX:
        raise OSError(EINVAL, "the text is too long")
    if text.lstrip()[:1] in ("{", "["):
        from json import loads

        try:
            return loads(text)
        except (ValueError, RecursionError):
            # A flow mapping on one line.
            pass
    return _Reader(text).document()


class _Reader:
    """Reads a document line by line: each line has a number, an indentation and a content."""

    def __init__(self, text: str) -> None:
        self._lines: list[tuple[int, int, str]] = []
        self._position = 0
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line:
                _fail(number, "a tab: use spaces")
            content = _without_comment(line).rstrip()
            if number == 1 and content == "---":
                continue
            stripped = content.lstrip(" ")
            if content in ("---", "...") or content.startswith(("%", "--- ")):
                _fail(number, "only one document without directives")
            if stripped:
                self._lines.append((number, len(content) - len(stripped), stripped))

    def document(self) -> Any:
        if not self._lines:
            return None
        value = self._block(self._lines[0][1], 0)
        if self._position < len(self._lines):
            _fail(self._lines[self._position][0], "the indentation fits nothing above")
        return value

    def _block(self, indent: int, depth: int) -> Any:
        number, _, content = self._lines[self._position]
        if depth > _DEPTH_MAX:
            _fail(number, "too deep")
        if content == "-" or content.startswith("- "):
            return self._list(indent, depth)
        if _split_key(content, number) is not None:
            return self._mapping(indent, depth)
        self._position += 1
        return _scalar_or_flow(content, number)

    def _list(self, indent: int, depth: int) -> list[Any]:
        found = []
        while self._position < len(self._lines):
            number, own, content = self._lines[self._position]
            if own != indent or not (content == "-" or content.startswith("- ")):
                break
            rest = content[1:].lstrip(" ")
            if rest:
                # What follows the dash is a block of its own, which begins there.
                inner = indent + len(content) - len(rest)
                self._lines[self._position] = (number, inner, rest)
                found.append(self._block(inner, depth + 1))
            else:
                self._position += 1
                found.append(self._below(indent, depth, False))
        return found

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._position < len(self._lines):
            number, own, content = self._lines[self._position]
            if own != indent or content == "-" or content.startswith("- "):
                break
            pair = _split_key(content, number)
            if pair is None:
                _fail(number, "expected `key: value`")
            key, rest = pair
            if key in found:
                _fail(number, f"{key[:100]!r} is there twice")
            self._position += 1
            found[key] = _scalar_or_flow(rest, number) if rest else self._below(indent, depth, True)
        return found

    def _below(self, indent: int, depth: int, of_mapping: bool) -> Any:
        """Return the block below a key or a dash; None if there is none."""
        if self._position >= len(self._lines):
            return None
        _, inner, content = self._lines[self._position]
        # A list may be as little indented as its key.
        is_list = of_mapping and inner == indent and (content == "-" or content.startswith("- "))
        return self._block(inner, depth + 1) if inner > indent or is_list else None


def _split_key(content: str, number: int) -> tuple[str, str] | None:
    """Return the key and what follows it; None if the line has no key."""
    if content[:1] in ('"', "'"):
        key, end = _quoted(content, 0, number)
        rest = content[end:].lstrip(" ")
    elif content[:1] in ("{", "["):
        return None
    else:
        key, colon, rest = content.partition(": ")
        if not colon:
            if not content.endswith(":"):
                return None
            key, rest = content[:-1], ""
        if not key.strip() or key[:1] in _SPECIAL or any(character in key for character in "\"'{}[],#"):
            _fail(number, f"the key {key[:100]!r} is not understood")
        return key.rstrip(" "), rest.strip(" ")
    if rest != ":" and not rest.startswith(": "):
        return None
    return key, rest[1:].strip(" ")


def _scalar_or_flow(text: str, number: int) -> Any:
    value, end = _flow(text, 0, number, "", 0)
    if text[end:].strip(" "):
        _fail(number, f"{text[end:][:100]!r} follows a value")
    return value


def _flow(text: str, start: int, number: int, ends: str, depth: int) -> tuple[Any, int]:
    """Return the value at `start` and where it ends. ends: characters that end a plain scalar."""
    start = _skip(text, start)
    first = text[start : start + 1]
    if depth > _DEPTH_MAX:
        _fail(number, "too deep")
    if first in ('"', "'") and first:
        return _quoted(text, start, number)
    if first in ("[", "{") and first:
        return _flow_collection(text, start, number, depth)
    end = start
    while end < len(text) and text[end] not in ends and not (ends and text[end : end + 2] == ": "):
        end += 1
    plain = text[start:end].strip(" ")
    if (plain[:1] in _SPECIAL and plain) or plain in ("-", ":") or plain.startswith(("- ", ": ")):
        _fail(number, f"{plain[:100]!r} is not understood; quote it")
    if ends and (any(character in plain for character in "[]{}") or plain.startswith(":") or plain.endswith(":")):
        _fail(number, f"{plain[:100]!r} is not understood in brackets; quote it")
    if " #" in plain:
        _fail(number, "a quotation mark within a text: quote the whole")
    if not ends and (": " in plain or plain.endswith(":")):
        _fail(number, "a mapping within a line needs braces")
    return _plain(plain), end


def _flow_collection(text: str, start: int, number: int, depth: int) -> tuple[Any, int]:
    is_list = text[start] == "["
    close = "]" if is_list else "}"
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    position = _skip(text, start + 1)
    while text[position : position + 1] != close:
        value, position = _flow(text, position, number, ",]}", depth + 1)
        position = _skip(text, position)
        if is_list:
            items.append(value)
        else:
            if text[position : position + 1] != ":" or isinstance(value, (dict, list)) or value is None:
                _fail(number, "expected `key: value` between braces")
            key = value if isinstance(value, str) else str(value)
            if key in pairs:
                _fail(number, f"{key[:100]!r} is there twice")
            pairs[key], position = _flow(text, position + 1, number, ",]}", depth + 1)
            position = _skip(text, position)
        following = text[position : position + 1]
        if following == ",":
            position = _skip(text, position + 1)
        elif following != close:
            _fail(number, f"expected `,` or `{close}`; lists and mappings in brackets must be on one line")
    return (items if is_list else pairs), position + 1


def _quoted(text: str, start: int, number: int) -> tuple[str, int]:
    quote = text[start]
    position = start + 1
    while True:
        end = text.find(quote, position)
        if end < 0:
            _fail(number, "the quotation does not end")
        if quote == "'" and text[end + 1 : end + 2] == "'":
            position = end + 2
        elif quote == '"' and (end - len(text[:end].rstrip("\\"))) % 2:
            position = end + 1
        else:
            break
    if quote == "'":
        return text[start + 1 : end].replace("''", "'"), end + 1
    from json import loads

    try:
        # The escapes of JSON are those that people use.
        return str(loads(text[start : end + 1])), end + 1
    except ValueError:
        _fail(number, "the quotation has an escape that is not understood")


def _plain(text: str) -> Any:
    if text.lower() in _WORDS and text in (text.lower(), text.capitalize(), text.upper()):
        return _WORDS[text.lower()]
    # No octal numbers, and no base 60: an address of hardware stays a text.
    digits = text[text.startswith("-") :]
    if digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0") and len(digits) < 19:
        return int(text)
    return text


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] == " ":
        position += 1
    return position


def _without_comment(line: str) -> str:
    quote = ""
    for index, character in enumerate(line):
        if quote:
            if character == quote and not (quote == '"' and line[index - 1] == "\\"):
                quote = ""
        elif character in "\"'" and (not index or line[index - 1] in " [{,:"):
            quote = character
        elif character == "#" and (not index or line[index - 1] in " \t"):
            return line[:index]
    return line


def _fail(number: int, why: str) -> NoReturn:
    raise OSError(EINVAL, f"line {number}: {why}")
