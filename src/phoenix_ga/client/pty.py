"""A terminal as a transport, such as that of QEMU's `-chardev pty`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
import tty
from collections.abc import Callable
from errno import EBUSY
from typing import Final

from phoenix_ga.client.transport import Transport

_READ_SIZE: Final = 256 * 1024
# From <asm-generic/ioctls.h>; missing in Python's termios.
_TIOCGEXCL: Final = 0x80045440


class _PtyTransport:
    """A transport over a terminal, whose settings it restores when it is closed."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reading: asyncio.ReadTransport,
        restore: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._reading = reading
        self._restore: Callable[[], None] | None = restore

    async def read(self) -> bytes:
        return await self._reader.read(_READ_SIZE)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        # Only once: afterwards, the file descriptor may be that of another file.
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()
            self._reading.close()
            self._writer.transport.abort()
            await asyncio.sleep(0)


async def open_pty(path: str) -> Transport:
    """Open a terminal exclusively, in raw mode.

    Raises:
        OSError: ENOTTY if it is not a terminal; EBUSY if another program has it exclusively.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = termios.tcgetattr(fd)
        _lock(fd)
        tty.setraw(fd, termios.TCSANOW)
    except termios.error as error:
        os.close(fd)
        raise OSError(*error.args) from None
    except BaseException:
        os.close(fd)
        raise

    def restore() -> None:
        # The other end may be closed already.
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)
            fcntl.ioctl(fd, termios.TIOCNXCL)

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_READ_SIZE)
    protocol = asyncio.StreamReaderProtocol(reader)
    # Each transport closes its own descriptor.
    reading, _ = await loop.connect_read_pipe(lambda: protocol, open(fd, "rb", 0))
    sending, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(os.dup(fd), "wb", 0))
    return _PtyTransport(reader, asyncio.StreamWriter(sending, flow, reader, loop), reading, restore)


def _lock(fd: int) -> None:
    """Set exclusive mode. The kernel does not enforce it for root, so look first."""
    if any(fcntl.ioctl(fd, _TIOCGEXCL, bytes(4))):
        raise OSError(EBUSY, os.strerror(EBUSY))
    fcntl.ioctl(fd, termios.TIOCEXCL)
