"""A guest that is only a script, for tests of programs that use this library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from phoenix_ga.client.errors import GuestRefused
from phoenix_ga.wire.messages import NO_CODE, Request, decode_request, encode_error, encode_return
from phoenix_ga.wire.units import RESET_BYTE, Frame, Line, Parser


class _Sign:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# A script's answer that never comes.
SILENCE: Final = _Sign("SILENCE")
# Instead of an answer, the link ends.
HANG_UP: Final = _Sign("HANG_UP")


class MockTransport:
    """A transport to a guest that answers from a script.

    answers: by command. A value is what the command returns; a GuestRefused is the error that it
    answers with; bytes are sent as they are; SILENCE and HANG_UP do what they say; a function is
    called with the request (`.execute`, `.arguments`, `.tag`) and returns any of these. Commands
    not in it are refused. left_over: bytes that an earlier client left in the port. deaf_to: how many
    `sync` get no answer. on_frame: is called with each frame that the client sends; the bytes that it
    returns are sent.

    requests: what was asked so far, `sync` left out. frames: those that the client sent. written: all
    bytes that were sent to the guest. closed: whether the client closed it.
    """

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        *,
        left_over: bytes = b"",
        deaf_to: int = 0,
        on_frame: Callable[[Frame], bytes] | None = None,
    ) -> None:
        self.answers = dict(answers or {})
        self.frames: list[Frame] = []
        self._on_frame = on_frame
        self.requests: list[Request] = []
        self.written = bytearray()
        self.closed = False
        self._deaf_to = deaf_to
        self._parser = Parser()
        self._output = bytearray(left_over)
        self._hung_up = False
        self._news: asyncio.Event | None = None

    def feed(self, data: bytes) -> None:
        """Let the guest send `data` now."""
        self._output += data
        self._tell()

    def hang_up(self) -> None:
        """Let the link end, after what was sent."""
        self._hung_up = True
        self._tell()

    async def read(self) -> bytes:
        """Return what the guest sent; see `Transport`."""
        if self._news is None:
            self._news = asyncio.Event()
        while not (self._output or self._hung_up or self.closed):
            self._news.clear()
            await self._news.wait()
        data = bytes(self._output)
        self._output.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Take what the client sends, and answer it; see `Transport`."""
        if self._hung_up or self.closed:
            raise BrokenPipeError(32, "the link has ended")
        self.written += data
        self._parser.receive(data)
        for unit in self._parser:
            if isinstance(unit, Line):
                self._answer(decode_request(unit.data))
            elif isinstance(unit, Frame):
                self.frames.append(unit)
                if self._on_frame is not None:
                    self.feed(self._on_frame(unit))

    async def close(self) -> None:
        """End the stream; see `Transport`."""
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def _answer(self, request: Request) -> None:
        if request.execute == "sync" and "sync" not in self.answers:
            if self._deaf_to > 0:
                self._deaf_to -= 1
            else:
                self.feed(RESET_BYTE + b"".join(encode_return(request.arguments["id"], request.tag)))
            return
        self.requests.append(request)
        unknown = GuestRefused("there is no such command in the script", NO_CODE)
        answer = self.answers.get(request.execute, unknown)
        if callable(answer):
            answer = answer(request)
        if answer is SILENCE:
            return
        if answer is HANG_UP:
            self.hang_up()
        elif isinstance(answer, GuestRefused):
            self.feed(encode_error(answer.text, answer.code, request.tag))
        elif isinstance(answer, bytes):
            self.feed(answer)
        else:
            self.feed(b"".join(encode_return(answer, request.tag)))
