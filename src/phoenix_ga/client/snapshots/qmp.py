"""A client of QEMU's monitor protocol, as much of it as snapshots need. See QEMU's docs/interop/qmp-spec.

The package `qemu.qmp` would do the same, but Debian does not have it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import SnapshotError
from phoenix_ga.client.open_transport import open_transport
from phoenix_ga.client.transport import UnixTransport

# Seconds for each answer, and bytes of each line: query-block of a guest with many disks and bitmaps.
_TIMEOUT: Final = 30.0
_LINE_MAX: Final = 16 * 1024 * 1024


class Qmp:
    """A connection to a monitor. One task at a time may use it."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._last = 0

    @classmethod
    async def connect(cls, path: str, owners: tuple[int, ...] = ()) -> Qmp:
        """Connect to a Unix socket.

        Args:
            owners: the users that may listen on it; empty: any.

        Raises:
            SnapshotError: nobody listens, another user does, or another client has the monitor.
        """
        try:
            await _check_owner(path, owners)
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_MAX)
        except OSError as error:
            raise SnapshotError(f"cannot connect to QEMU's monitor {path}: {error.strerror}") from None
        qmp = cls(path, reader, writer)
        try:
            greeting = await qmp._read("does not greet; another client may have it")
            if "QMP" not in greeting:
                raise SnapshotError(f"{path} is not a QMP monitor")
            await qmp.execute("qmp_capabilities")
        except BaseException:
            await qmp.close()
            raise
        return qmp

    async def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Execute a command and return its result. Raises SnapshotError."""
        self._last += 1
        request = {"execute": command, "arguments": arguments or {}, "id": self._last}
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise self._error(f"ended: {error.strerror}") from None
        while True:
            answer = await self._read(f"does not answer {command}")
            if answer.get("id") != self._last:
                # An event, or the answer to a command whose caller was cancelled.
                continue
            if "error" in answer:
                error_text = answer["error"].get("desc") if isinstance(answer["error"], dict) else None
                raise SnapshotError(f"QEMU: {command}: {error_text}")
            return answer.get("return")

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass

    async def _read(self, otherwise: str) -> dict[str, Any]:
        try:
            async with timeouts.timeout(_TIMEOUT):
                line = await self._reader.readline()
            value = json.loads(line) if line else None
        except asyncio.TimeoutError:
            raise self._error(otherwise) from None
        except (OSError, ValueError, RecursionError):
            raise self._error("sent garbage, or more than a monitor sends") from None
        if not isinstance(value, dict):
            raise self._error("ended" if value is None else "sent garbage")
        return value

    def _error(self, text: str) -> SnapshotError:
        return SnapshotError(f"QEMU's monitor {self._path} {text}")


async def _check_owner(path: str, owners: tuple[int, ...]) -> None:
    if owners:
        transport = await open_transport(f"unix:{path}")
        uid = transport.peer_uid if isinstance(transport, UnixTransport) else -1
        await transport.close()
        if uid not in owners:
            raise SnapshotError(f"user {uid} listens on {path}, not the user that runs the guest")
