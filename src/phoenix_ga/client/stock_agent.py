"""The few commands of a stock qemu-ga that install another agent: files and programs.

Everything from the guest is bounded: lines, answers, output and time.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import ConnectionLostError, GuestTimeoutError, ProtocolError, command_error
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json
from phoenix_ga.wire.units import RESET_BYTE, Line, Parser

# qemu-ga takes 48 MB in a request; a port delivers small ones faster.
_PIECE: Final = 48 * 1024
_LINE_MAX: Final = 1 << 20
_OUTPUT_SHOWN: Final = 4096


class StockResult(NamedTuple):
    """How a program ended: its exit status, or 128 and its signal, and its output."""

    status: int
    output: str


class StockAgent:
    """A qemu-ga on a transport.

    Args:
        timeout: for each answer, in seconds.
    """

    def __init__(self, transport: Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._parser = Parser(_LINE_MAX, lines_only=True)

    async def sync(self) -> None:
        """Begin: what earlier clients left is dropped."""
        number = secrets.randbits(31)
        await self._transport.write(
            RESET_BYTE + b'{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number
        )
        try:
            async with timeouts.timeout(self._timeout):
                # The byte before the answer resets the parser.
                while (await self._next()).get("return") != number:
                    pass
        except asyncio.TimeoutError:
            raise GuestTimeoutError(f"no qemu-ga answered within {self._timeout:g} seconds") from None

    async def call(self, execute: str, **arguments: Any) -> Any:
        """Return the answer to a command. Raises CommandError, GuestTimeoutError or ConnectionLostError."""
        request = {"execute": execute, **({"arguments": arguments} if arguments else {})}
        await self._transport.write(encode_json(request) + b"\n")
        try:
            async with timeouts.timeout(self._timeout):
                answer = await self._next()
        except asyncio.TimeoutError:
            raise GuestTimeoutError(f"{execute}: no answer within {self._timeout:g} seconds") from None
        if "return" in answer:
            return answer["return"]
        error = answer.get("error")
        text = error.get("desc") if isinstance(error, dict) else None
        raise command_error(f"qemu-ga refused {execute}: {str(text)[:_OUTPUT_SHOWN]}", 0, None)

    async def write_file(self, path: str, data: bytes, progress: Callable[[int, int | None], None] | None) -> None:
        """Write a file of the guest."""
        handle = await self.call("guest-file-open", path=path, mode="w")
        try:
            for start in range(0, len(data), _PIECE):
                piece = data[start : start + _PIECE]
                text = base64.b64encode(piece).decode()
                written = await self.call("guest-file-write", **{"handle": handle, "buf-b64": text})
                if not isinstance(written, dict) or written.get("count") != len(piece):
                    raise ProtocolError(f"{path}: the guest did not write everything")
                if progress is not None:
                    progress(start + len(piece), len(data))
        finally:
            await self.call("guest-file-close", handle=handle)

    async def run(self, argv: Sequence[str], limit: float) -> StockResult:
        """Run a program to its end, for at most `limit` seconds."""
        started = await self.call("guest-exec", **{"path": argv[0], "arg": list(argv[1:]), "capture-output": True})
        pid = started.get("pid") if isinstance(started, dict) else None
        try:
            async with timeouts.timeout(limit):
                while True:
                    status = await self.call("guest-exec-status", pid=pid)
                    if not isinstance(status, dict):
                        raise ProtocolError("the guest does not report the status of a program")
                    if status.get("exited"):
                        return _result(status)
                    await asyncio.sleep(0.1)
        except asyncio.TimeoutError:
            raise GuestTimeoutError(f"{argv[0]} did not end within {limit:g} seconds") from None

    async def _next(self) -> dict[str, Any]:
        while True:
            unit = self._parser.next_unit()
            if unit is None:
                data = await self._transport.read()
                if not data:
                    raise ConnectionLostError("the connection was closed")
                self._parser.receive(data)
            elif isinstance(unit, Line):
                try:
                    value = decode_json(unit.data.lstrip(RESET_BYTE))
                except JsonError:
                    continue
                if isinstance(value, dict) and ("return" in value or "error" in value):
                    return value


def _result(status: dict[str, Any]) -> StockResult:
    output = ""
    for name in ("out-data", "err-data"):
        text = status.get(name)
        if isinstance(text, str):
            try:
                output += base64.b64decode(text).decode("utf-8", "replace")
            except ValueError:
                pass
    code, signal = status.get("exitcode"), status.get("signal")
    number = code if isinstance(code, int) else 128 + signal if isinstance(signal, int) else 255
    return StockResult(number, output[-_OUTPUT_SHOWN:].strip())
