"""Messages of the Phoenix dialect: requests and answers, each on one line of JSON.

    request  {"execute": NAME, "arguments": {...}, "tag": TAG}
    answer   {"return": VALUE, "tag": TAG}
    error    {"error": {"bufb64": TEXT, "code": ERRNO}, "tag": TAG}

In file names that are not UTF-8, each invalid byte 0x80-0xFF is a lone surrogate U+DC80-U+DCFF (PEP 383, Python's
`surrogateescape`), which JSON writes as `\\udc80` to `\\udcff`.
"""

from __future__ import annotations

from phoenix_ga.wire.base64_text import decode_base64, encode_base64
from phoenix_ga.wire.json_text import ELEMENTS_MAX, JsonError, decode_json, encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

NO_CODE: Final = -1
# The text may contain a path, which may be as long as a line.
_ERROR_TEXT_MAX: Final = 1000
# Enough for a listing of 100,000 entries; it bounds the client's memory.
ANSWER_ELEMENTS_MAX: Final = 2_500_000


class NoTag:
    """The tag of a message without one. JSON's null is a tag like any other."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_TAG"


NO_TAG: Final = NoTag()


class MessageError(ValueError):
    """A line is not a message of this dialect. tag: its tag, or NO_TAG."""

    def __init__(self, text: str, tag: Any = NO_TAG) -> None:
        super().__init__(text)
        self.tag = tag


class Request:
    """A request. execute: name of the command. arguments: by name. tag: any JSON value, or NO_TAG."""

    __slots__ = ("arguments", "execute", "tag")

    def __init__(self, execute: str, arguments: dict[str, Any], tag: Any = NO_TAG) -> None:
        self.execute = execute
        self.arguments = arguments
        self.tag = tag

    @property
    def ordered(self) -> bool:
        """Whether it has no tag to identify its answer, so that answers must keep the order."""
        return self.tag is NO_TAG or self.tag is None or self.tag == ""


class Answer:
    """An answer. value: result of the command. error: None, or the error. tag: of the request, or NO_TAG."""

    __slots__ = ("error", "tag", "value")

    def __init__(self, value: Any, error: AnswerError | None, tag: Any = NO_TAG) -> None:
        self.value = value
        self.error = error
        self.tag = tag


class AnswerError:
    """An error in an answer. text: description. code: errno, or NO_CODE."""

    __slots__ = ("code", "text")

    def __init__(self, text: str, code: int) -> None:
        self.text = text
        self.code = code


class JsonText:
    """JSON text, in pieces, for use as the value of an answer."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: bytes | bytearray | memoryview) -> None:
        self.pieces = pieces


def _decode(line: bytes, elements_max: int) -> Any:
    try:
        return decode_json(line, elements_max)
    except JsonError as error:
        raise MessageError(str(error)) from None


def decode_request(line: bytes) -> Request:
    """Return the request on a line. Raises MessageError if it is not a request."""
    return make_request(_decode(line, ELEMENTS_MAX))


def make_request(message: Any) -> Request:
    """Return the request that a JSON value represents. Raises MessageError if it is not a request."""
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
    """Return the line of a request, newline included."""
    message: dict[str, Any] = {"execute": execute}
    if arguments:
        message["arguments"] = arguments
    if tag is not NO_TAG:
        message["tag"] = tag
    return encode_json(message) + b"\n"


def encode_return(value: Any, tag: Any = NO_TAG) -> list[bytes | bytearray | memoryview]:
    """Return the pieces of the line of an answer with `value`, newline included."""
    pieces = value.pieces if type(value) is JsonText else (encode_json(value),)
    return [b'{"return": ', *pieces, _encode_tag(tag)]


def encode_error_value(text: str, code: int) -> dict[str, Any]:
    """Return the JSON value of an error."""
    if len(text) > _ERROR_TEXT_MAX:
        text = text[:_ERROR_TEXT_MAX] + "..."
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # The text may quote lone surrogates of a request that represent no byte.
        data = text.encode("utf-8", "backslashreplace")
    return {"bufb64": encode_base64(data).decode("ascii"), "code": code}


def encode_error(text: str, code: int, tag: Any = NO_TAG) -> bytes:
    """Return the line of an error answer, newline included."""
    error = encode_json(encode_error_value(text, code))
    try:
        return b'{"error": %s%s' % (error, _encode_tag(tag))
    except (RecursionError, MemoryError):
        # A tag may be too deeply nested, or too large, to encode, although it could be decoded.
        return b'{"error": %s}\n' % error


def _encode_tag(tag: Any) -> bytes:
    return b"}\n" if tag is NO_TAG else b', "tag": %s}\n' % encode_json(tag)


def decode_answer(line: bytes, elements_max: int = ANSWER_ELEMENTS_MAX) -> Answer:
    """Return the answer on a line. Raises MessageError if it is not an answer, or has too many elements."""
    return make_answer(_decode(line, elements_max))


def make_answer(message: Any) -> Answer:
    """Return the answer in a JSON value. Raises MessageError."""
    if type(message) is not dict:
        raise MessageError("answer is not a JSON object")
    tag = message.get("tag", NO_TAG)
    if "error" in message:
        return Answer(None, decode_error_value(message["error"], tag), tag)
    if "return" not in message:
        raise MessageError("answer has neither 'return' nor 'error'", tag)
    return Answer(message["return"], None, tag)


def decode_error_value(error: Any, tag: Any = NO_TAG) -> AnswerError:
    """Return the error that a JSON value represents. Raises MessageError if it is not an error."""
    if type(error) is not dict or type(error.get("bufb64")) is not str or type(error.get("code")) is not int:
        raise MessageError("error answer is not of the form {bufb64, code}", tag)
    try:
        text = decode_base64(error["bufb64"])
    except ValueError as problem:
        raise MessageError(f"text of an error answer: {problem}", tag) from None
    return AnswerError(text.decode("utf-8", "replace"), error["code"])
