"""The messages of both dialects on one connection: ours, and that of the QEMU Guest Agent.

The names of QEMU's commands begin with `guest-`. Their requests and answers have an `id` where ours have a `tag`,
and errors are of the form {"class": ..., "desc": ...}.
"""

from __future__ import annotations

from typing import Any, Final

from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import (
    NO_CODE,
    NO_TAG,
    Answer,
    AnswerError,
    MessageError,
    Request,
    encode_request,
    make_answer,
)

QEMU_PREFIX: Final = "guest-"


class QemuError(AnswerError):
    """An error answer of the QEMU dialect."""

    __slots__ = ("error_class",)

    def __init__(self, text: str, error_class: str) -> None:
        super().__init__(text, NO_CODE)
        self.error_class = error_class


def encode_call(request: Request) -> bytes:
    """Return the line of a request, in the dialect of its command."""
    if not request.execute.startswith(QEMU_PREFIX):
        return encode_request(request.execute, request.arguments, request.tag)
    message: dict[str, Any] = {"execute": request.execute, "id": request.tag}
    if request.arguments:
        message["arguments"] = request.arguments
    return encode_json(message) + b"\n"


def make_any_answer(message: Any) -> Answer:
    """Return the answer, of either dialect, in a JSON value; its tag is `tag` or `id`. Raises MessageError."""
    if type(message) is not dict or "tag" in message or "id" not in message:
        return make_answer(message)
    tag = message.get("id", NO_TAG)
    if "error" not in message:
        if "return" not in message:
            raise MessageError("answer has neither 'return' nor 'error'", tag)
        return Answer(message["return"], None, tag)
    error = message["error"]
    if type(error) is not dict or type(error.get("desc")) is not str or type(error.get("class")) is not str:
        raise MessageError("error answer is not of the form {class, desc}", tag)
    return Answer(None, QemuError(error["desc"], error["class"]), tag)
