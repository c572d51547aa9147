"""The requests of clients and the answers to them, in either dialect."""

from __future__ import annotations

from typing import Any

from phoenix_ga.client.dialects import QEMU_PREFIX, encode_call
from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG, MessageError, Request, encode_error, make_request
from phoenix_ga.wire.objects import split_objects
from phoenix_ga.wire.units import RESET_BYTE


class ClientRequest:
    """A request as its client sent it.

    Attributes:
        request: the request; its tag is the `id` in the QEMU dialect.
        is_qemu: it is one of the QEMU dialect.
    """

    __slots__ = ("is_qemu", "request")

    def __init__(self, request: Request, is_qemu: bool) -> None:
        self.request = request
        self.is_qemu = is_qemu

    @property
    def is_ordered(self) -> bool:
        """Whether it is answered in the order of the client's other requests."""
        return self.is_qemu or self.request.ordered

    def forward(self, tag: str) -> bytes:
        """Return the line to send to the guest, with a tag of the hub."""
        return encode_call(Request(self.request.execute, self.request.arguments, tag))

    def answer(self, message: dict[str, Any]) -> bytes:
        """Return the line for the client from the guest's answer, with the client's own tag."""
        members = {name: value for name, value in message.items() if name not in ("tag", "id")}
        if self.request.tag is not NO_TAG:
            members["id" if self.is_qemu else "tag"] = self.request.tag
        return encode_json(members) + b"\n"

    def answer_return(self, value: Any) -> bytes:
        """Return the line of an answer of the hub itself."""
        line = self.answer({"return": value})
        marked = self.request.execute in ("sync", "guest-sync-delimited")
        return RESET_BYTE + line if marked else line

    def refuse(self, text: str, code: int) -> bytes:
        """Return the line of an error answer."""
        if self.is_qemu:
            return self.answer({"error": {"class": "GenericError", "desc": text}})
        return encode_error(text, code, self.request.tag)


def read_line(line: bytes) -> list[ClientRequest | bytes]:
    """Return the requests on a line; for what is no request, the error answer."""
    try:
        return [_read(decode_json(line))]
    except JsonError as error:
        problem = error
    try:
        parts = split_objects(line)
    except JsonError as error:
        problem, parts = error, []
    if len(parts) > 1:
        return [each for part in parts for each in read_line(part)]
    return [encode_error(str(problem), NO_CODE)]


def _read(message: Any) -> ClientRequest | bytes:
    """Return the request that a JSON value represents, or the error answer."""
    execute = message.get("execute") if isinstance(message, dict) else None
    is_qemu = isinstance(execute, str) and execute.startswith(QEMU_PREFIX)
    if is_qemu:
        # The agent checks the other members; a second tag must not reach it.
        message["tag"] = message.pop("id", NO_TAG)
    try:
        return ClientRequest(make_request(message), is_qemu)
    except MessageError as error:
        return encode_error(str(error), NO_CODE, error.tag)
