"""A scripted guest, for tests of programs that use this library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from phoenix_ga.client.dialects import QEMU_PREFIX
from phoenix_ga.client.errors import CommandError
from phoenix_ga.wire.json_text import decode_json, encode_json
from phoenix_ga.wire.messages import NO_CODE, Request, encode_error, encode_return, make_request
from phoenix_ga.wire.units import RESET_BYTE, Frame, Line, Parser


class _Constant:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: An answer that never arrives.
SILENCE: Final = _Constant("SILENCE")
#: The connection ends instead of an answer.
HANG_UP: Final = _Constant("HANG_UP")


class MockTransport:
    """A transport to a guest that answers from a script.

    Attributes:
        answers: by command, and each of: a value to return; a CommandError to answer with; bytes to send as they
            are; SILENCE; HANG_UP; or a function of the request (`.execute`, `.arguments`, `.tag`) that returns one of
            these. Other commands are answered with an error, except the handshakes `sync` and
            `guest-sync-delimited`, and `get-session`, with which a client finds out whether the agent is still there.
        requests: the requests received so far, without these three.
        frames: the frames received so far.
        written: all bytes received so far.
        closed: whether the client closed the transport.
    """

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        *,
        left_over: bytes = b"",
        deaf_to: int = 0,
        on_frame: Callable[[Frame], bytes] | None = None,
    ) -> None:
        """Make a scripted guest.

        Args:
            answers: see `MockTransport.answers`.
            left_over: bytes of an earlier client that are still in the port.
            deaf_to: number of handshakes to ignore.
            on_frame: is called with each frame of the client, and returns the bytes to send.
        """
        self.answers = dict(answers or {})
        self.frames: list[Frame] = []
        self._on_frame = on_frame
        self.requests: list[Request] = []
        self.written = bytearray()
        self.closed = False
        self._deaf_to = deaf_to
        self._session = 0
        self._parser = Parser()
        self._output = bytearray(left_over)
        self._hung_up = False
        self._arrival: asyncio.Event | None = None

    def feed(self, data: bytes) -> None:
        """Send `data` to the client now."""
        self._output += data
        self._wake()

    def hang_up(self) -> None:
        """End the connection after the data sent so far."""
        self._hung_up = True
        self._wake()

    async def read(self) -> bytes:
        """See `Transport`."""
        if self._arrival is None:
            self._arrival = asyncio.Event()
        while not (self._output or self._hung_up or self.closed):
            self._arrival.clear()
            await self._arrival.wait()
        data = bytes(self._output)
        self._output.clear()
        return data

    async def write(self, data: bytes) -> None:
        """See `Transport`."""
        if self._hung_up or self.closed:
            raise BrokenPipeError(32, "the connection has ended")
        self.written += data
        self._parser.receive(data)
        for unit in self._parser:
            if isinstance(unit, Line):
                self._answer(decode_json(unit.data))
            elif isinstance(unit, Frame):
                self.frames.append(unit)
                if self._on_frame is not None:
                    self.feed(self._on_frame(unit))

    async def close(self) -> None:
        """See `Transport`."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()

    def _answer(self, message: dict[str, Any]) -> None:
        is_qemu = message["execute"].startswith(QEMU_PREFIX)
        if is_qemu:
            request = Request(message["execute"], message.get("arguments", {}), message.get("id"))
        else:
            request = make_request(message)
        if request.execute == "sync" and "sync" not in self.answers:
            if self._deaf_to > 0:
                self._deaf_to -= 1
            else:
                self._session = request.arguments["id"]
                self.feed(RESET_BYTE + b"".join(encode_return(self._session, request.tag)))
            return
        if request.execute == "guest-sync-delimited" and "guest-sync-delimited" not in self.answers:
            # The hub asks in both dialects.
            self.feed(RESET_BYTE + _encode_qemu(request.arguments["id"], request.tag))
            return
        if request.execute == "get-session" and "get-session" not in self.answers:
            self.feed(b"".join(encode_return(self._session, request.tag)))
            return
        self.requests.append(request)
        answer = self.answers.get(request.execute, CommandError("the script has no such command", NO_CODE))
        if callable(answer):
            answer = answer(request)
        if answer is SILENCE:
            return
        if answer is HANG_UP:
            self.hang_up()
        elif isinstance(answer, bytes):
            self.feed(answer)
        elif is_qemu:
            self.feed(_encode_qemu(answer, request.tag))
        elif isinstance(answer, CommandError):
            self.feed(encode_error(answer.text, answer.code, request.tag))
        else:
            self.feed(b"".join(encode_return(answer, request.tag)))


def _encode_qemu(answer: Any, id: Any) -> bytes:
    if isinstance(answer, CommandError):
        message: dict[str, Any] = {"error": {"class": answer.error_class or "GenericError", "desc": answer.text}}
    else:
        message = {"return": answer}
    if id is not None:
        message["id"] = id
    return encode_json(message) + b"\n"
