"""The requests of clients and the answers to them, in either dialect.

Most lines are passed on as they are, but for the tag at their end: nothing is decoded or encoded that need not be.
"""

from __future__ import annotations

from typing import Any, Final

from phoenix_ga.client.dialects import QEMU_PREFIX, encode_call
from phoenix_ga.hub.catalogue import changes_guest, find_command, is_answered
from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG, MessageError, Request, encode_error, make_request
from phoenix_ga.wire.objects import split_objects
from phoenix_ga.wire.units import RESET_BYTE

#: What is before the tag on the lines of most clients and of our agent, and after it.
TAG: Final = b', "tag": '
END: Final = b"}\n"


class ClientRequest:
    """A request of a client, without its tag.

    Attributes:
        execute: name of the command.
        arguments: of the command, by name.
        is_qemu: it is one of the QEMU dialect.
        is_ordered: it is answered in the order of the client's other requests.
        text: its line up to the tag, which is the last member; empty if it has another form.
        command: its declaration; None for a command that this version does not know.
        is_quick: the agent answers it however busy it is.
        is_silent: only failure is answered.
        is_revocable: it is called off if its client leaves.
        passes_answers: an answer that says success need not be read, because nothing follows from it.
    """

    __slots__ = (
        "arguments",
        "command",
        "execute",
        "is_ordered",
        "is_qemu",
        "is_quick",
        "is_revocable",
        "is_silent",
        "passes_answers",
        "text",
    )

    def __init__(self, request: Request, is_qemu: bool, text: bytes) -> None:
        self.execute = request.execute
        self.arguments = request.arguments
        self.is_qemu = is_qemu
        self.is_ordered = is_qemu or request.ordered
        self.text = text
        self.command = command = find_command(request.execute)
        self.is_quick = command is not None and (command.inline or command.urgent)
        self.is_silent = not is_answered(request.execute)
        self.is_revocable = command is not None and command.revocable
        self.passes_answers = not (is_qemu or command is None or command.streams or command.revocable)

    @property
    def is_repeatable(self) -> bool:
        """Whether a client that may send it once may send it again without another look: it is harmless and quick."""
        command = self.command
        if not self.text or self.is_ordered or command is None:
            return False
        is_quick = command.inline and not command.streams and not command.handle
        return is_quick and not changes_guest(self.execute, self.arguments)

    def forward(self, tag: bytes) -> bytes:
        """Return the line to send to the guest, with a tag of the hub."""
        if self.text:
            return b'%s, "tag": "%s"}\n' % (self.text, tag)
        return encode_call(Request(self.execute, self.arguments, tag.decode()))

    def answer(self, message: dict[str, Any], tail: bytes) -> bytes:
        """Return the line for the client from an answer, with the client's own tag."""
        members = {name: value for name, value in message.items() if name not in ("tag", "id")}
        return encode_json(members)[:-1] + tail

    def answer_return(self, value: Any, tail: bytes) -> bytes:
        """Return the line of an answer of the hub itself."""
        line = self.answer({"return": value}, tail)
        return RESET_BYTE + line if self.execute in ("sync", "guest-sync-delimited") else line

    def refuse(self, text: str, code: int, tail: bytes) -> bytes:
        """Return the line of an error answer."""
        if self.is_qemu:
            return self.answer({"error": {"class": "GenericError", "desc": text}}, tail)
        return encode_error(text, code)[: -len(END)] + tail


def is_plain_tag(text: bytes) -> bool:
    """Return whether a JSON text is a number, or a string of letters, digits and dashes."""
    if text.isdigit():
        return text[0] != 0x30
    return text[:1] == b'"' == text[-1:] and text[1:-1].replace(b"-", b"").isalnum()


def read_line(line: bytes) -> list[tuple[ClientRequest, bytes] | bytes]:
    """Return the requests on a line, each with the end of its answer; for what is no request, the error answer."""
    try:
        return [_read(decode_json(line), line)]
    except JsonError as error:
        problem = error
    try:
        parts = split_objects(line)
    except JsonError as error:
        problem, parts = error, []
    if len(parts) > 1:
        return [each for part in parts for each in read_line(part)]
    return [encode_error(str(problem), NO_CODE)]


def _read(message: Any, line: bytes) -> tuple[ClientRequest, bytes] | bytes:
    """Return the request that a JSON value represents, with the end of its answer; or the error answer."""
    execute = message.get("execute") if isinstance(message, dict) else None
    is_qemu = isinstance(execute, str) and execute.startswith(QEMU_PREFIX)
    if is_qemu:
        # The agent checks the other members; a second tag must not reach it.
        message["tag"] = message.pop("id", NO_TAG)
    try:
        request = make_request(message)
    except MessageError as error:
        return encode_error(str(error), NO_CODE, error.tag)
    text = b"" if is_qemu or line[-1:] != b"}" or b"\n" in line else _text_before_tag(line, request.tag)
    return ClientRequest(request, is_qemu, text), _tail(b"id" if is_qemu else b"tag", request.tag)


def _text_before_tag(line: bytes, tag: Any) -> bytes:
    """Return a valid line up to its tag, or nothing if the tag is not its last member."""
    if tag is NO_TAG:
        return line[:-1]
    cut = line.rfind(TAG)
    # A plain tag has no brackets and ends no string, so that it is a member of the object that ends behind it.
    return line[:cut] if cut > 0 and is_plain_tag(line[cut + len(TAG) : -1]) else b""


def _tail(name: bytes, tag: Any) -> bytes:
    """Return the end of an answer to a request with a tag."""
    try:
        return END if tag is NO_TAG else b', "%s": %s}\n' % (name, encode_json(tag))
    except (RecursionError, MemoryError):
        # It may be too deeply nested to encode, although it could be decoded.
        return END
