"""The messages of the Phoenix dialect: requests and answers, to and from one line of JSON.

    request  {"execute": NAME, "arguments": {...}, "tag": TAG}
    answer   {"return": VALUE, "tag": TAG}
    error    {"error": {"bufb64": TEXT, "code": ERRNO}, "tag": TAG}

File names that are not UTF-8 have each odd byte 0x80-0xFF as a lone surrogate U+DC80-U+DCFF
(PEP 383, Python's `surrogateescape`), which JSON writes as `\\udc80` and so on.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from phoenix_ga.wire.json_text import ELEMENTS_MAX, JsonError, decode_json, encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

NO_CODE: Final = -1
# More of an error's text nobody reads; a path in it may be as long as a line.
_ERROR_TEXT_MAX: Final = 1000
# A listing of 100,000 entries has this many; a client's memory stays bounded all the same.
ANSWER_ELEMENTS_MAX: Final = 2_500_000


class NoTag:
    """The tag of a message that has none; JSON's null is a tag like any other."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_TAG"


NO_TAG: Final = NoTag()


class MessageError(ValueError):
    """A line is no message of this dialect. tag: the one it had, or NO_TAG."""

    def __init__(self, text: str, tag: Any = NO_TAG) -> None:
        super().__init__(text)
        self.tag = tag


class Request:
    """execute: the command's name. arguments: by name. tag: any JSON value, or NO_TAG."""

    __slots__ = ("arguments", "execute", "tag")

    def __init__(self, execute: str, arguments: dict[str, Any], tag: Any = NO_TAG) -> None:
        self.execute = execute
        self.arguments = arguments
        self.tag = tag

    @property
    def ordered(self) -> bool:
        """Whether its answer can't be told apart by a tag, so that it has to come in its turn."""
        return self.tag is NO_TAG or self.tag is None or self.tag == ""


class Answer:
    """value: what the command returned. error: None, or the error. tag: the request's, or NO_TAG."""

    __slots__ = ("error", "tag", "value")

    def __init__(self, value: Any, error: AnswerError | None, tag: Any = NO_TAG) -> None:
        self.value = value
        self.error = error
        self.tag = tag


class AnswerError:
    """text: what went wrong. code: the errno that describes it, or NO_CODE."""

    __slots__ = ("code", "text")

    def __init__(self, text: str, code: int) -> None:
        self.text = text
        self.code = code


class JsonText:
    """JSON that is encoded already, to stand in an answer where a value would. pieces: of the text."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: bytes | bytearray | memoryview) -> None:
        self.pieces = pieces


def _decode(line: bytes, elements_max: int) -> Any:
    try:
        return decode_json(line, elements_max)
    except JsonError as error:
        raise MessageError(str(error)) from None


def decode_request(line: bytes) -> Request:
    """Return the request that stands on `line`. Raises MessageError where there is none."""
    return make_request(_decode(line, ELEMENTS_MAX))


def make_request(message: Any) -> Request:
    """Return the request that a JSON value is. Raises MessageError where it is none."""
    if type(message) is not dict:
        raise MessageError('request must be a JSON object, such as {"execute": "ping"}')
    tag = message.pop("tag", NO_TAG)
    execute = message.pop("execute", None)
    arguments = message.pop("arguments", None)
    if execute is None:
        raise MessageError("request has no member 'execute'", tag)
    if type(execute) is not str:
        raise MessageError("member 'execute' must be a string", tag)
    if arguments is None:
        arguments = {}
    elif type(arguments) is not dict:
        raise MessageError("member 'arguments' must be an object", tag)
    if message:
        raise MessageError(f"request has an unknown member {next(iter(message))[:40]!r}", tag)
    return Request(execute, arguments, tag)


def encode_request(execute: str, arguments: dict[str, Any], tag: Any = NO_TAG) -> bytes:
    """Return the line, newline included, that asks for a command."""
    message: dict[str, Any] = {"execute": execute}
    if arguments:
        message["arguments"] = arguments
    if tag is not NO_TAG:
        message["tag"] = tag
    return encode_json(message) + b"\n"


def encode_return(value: Any, tag: Any = NO_TAG) -> list[bytes | bytearray | memoryview]:
    """Return the line, newline included, that answers with `value`, in pieces to be sent in turn."""
    pieces = value.pieces if type(value) is JsonText else (encode_json(value),)
    return [b'{"return": ', *pieces, _encode_tag(tag)]


def encode_error_value(text: str, code: int) -> dict[str, Any]:
    """Return what stands for an error in a message."""
    if len(text) > _ERROR_TEXT_MAX:
        text = text[:_ERROR_TEXT_MAX] + "..."
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Whatever a request holds may be named in an error, characters that stand for nothing too.
        data = text.encode("utf-8", "backslashreplace")
    return {"bufb64": encode_base64(data).decode("ascii"), "code": code}


def encode_error(text: str, code: int, tag: Any = NO_TAG) -> bytes:
    """Return the line, newline included, that answers with an error."""
    error = encode_json(encode_error_value(text, code))
    try:
        return b'{"error": %s%s' % (error, _encode_tag(tag))
    except (RecursionError, MemoryError):
        # A tag that could just be read may be nested too deeply, or be too large, to be written.
        return b'{"error": %s}\n' % error


def _encode_tag(tag: Any) -> bytes:
    return b"}\n" if tag is NO_TAG else b', "tag": %s}\n' % encode_json(tag)


def decode_answer(line: bytes, elements_max: int = ANSWER_ELEMENTS_MAX) -> Answer:
    """Return the answer that stands on `line`. Raises MessageError where there is none, or too much in it."""
    message = _decode(line, elements_max)
    if type(message) is not dict:
        raise MessageError("answer is not a JSON object")
    tag = message.get("tag", NO_TAG)
    if "error" in message:
        return Answer(None, decode_error_value(message["error"], tag), tag)
    if "return" not in message:
        raise MessageError("answer has neither 'return' nor 'error'", tag)
    return Answer(message["return"], None, tag)


def decode_error_value(error: Any, tag: Any = NO_TAG) -> AnswerError:
    """Return the error that stands in a message. Raises MessageError where there is none."""
    if type(error) is not dict or type(error.get("bufb64")) is not str or type(error.get("code")) is not int:
        raise MessageError("error answer is not of the form {bufb64, code}", tag)
    try:
        text = decode_base64(error["bufb64"])
    except ValueError as problem:
        raise MessageError(f"text of an error answer: {problem}", tag) from None
    return AnswerError(text.decode("utf-8", "replace"), error["code"])


def encode_base64(data: bytes | bytearray | memoryview) -> bytes:
    """Return `data` in base64, without line breaks."""
    return b2a_base64(data, newline=False)


# What the decoder would skip in silence, so that a damaged text would decode to damaged data.
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def decode_plain_base64(text: str) -> bytes | None:
    """Return the data of a base64 text without line breaks, or None where anything is unusual about it."""
    if len(text) % 4:
        return None
    try:
        data = a2b_base64(text)
    except (Base64Error, ValueError):
        return None
    padding = 2 if text.endswith("==") else text.endswith("=")
    # The decoder skips what does not belong: then the data is shorter.
    return data if len(data) == len(text) // 4 * 3 - padding else None


def decode_base64(text: str) -> bytes:
    """Return the data of a base64 text, in which line breaks are fine.

    Raises ValueError on any other character that does not belong, and on wrong padding.
    """
    data = decode_plain_base64(text)
    if data is not None:
        return data
    try:
        encoded = text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("base64 holds a character that is not ASCII") from None
    strange = encoded.translate(None, _ALPHABET)
    if strange:
        wrong = strange.translate(None, b"\r\n")
        if wrong:
            raise ValueError(f"base64 holds the character {chr(wrong[0])!r}")
        encoded = encoded.translate(None, b"\r\n")
    padding = encoded.find(b"=")
    if len(encoded) % 4 or 0 <= padding < len(encoded) - 2 or (padding >= 0 and encoded[-1:] != b"="):
        raise ValueError("base64 is cut short or wrongly padded")
    try:
        return a2b_base64(encoded)
    except Base64Error as error:
        raise ValueError(f"not base64: {error}") from None
