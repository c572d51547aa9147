"""A terminal as a transport, such as the one that QEMU's `-chardev pty` makes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
import tty
from errno import EBUSY
from typing import Any, Final

from phoenix_ga.client.transport import StreamTransport, Transport

_READ_SIZE: Final = 256 * 1024
# Of <asm-generic/ioctls.h>, which Python leaves out.
_TIOCGEXCL: Final = 0x80045440


class _PtyTransport(StreamTransport):
    """Puts the terminal back as it was found."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reading: asyncio.ReadTransport, restore: Any
    ) -> None:
        super().__init__(reader, writer)
        self._reading = reading
        self._restore = restore

    async def close(self) -> None:
        self._restore()
        self._reading.close()
        await super().close()


async def open_pty(path: str) -> Transport:
    """Open a terminal in raw mode, for this program alone. Raises OSError.

    ENOTTY: it is none. EBUSY: another program has it for itself.
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
        # Whoever is at the other end may be gone.
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)
            fcntl.ioctl(fd, termios.TIOCNXCL)

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_READ_SIZE)
    protocol = asyncio.StreamReaderProtocol(reader)
    # Each transport closes its own file.
    reading, _ = await loop.connect_read_pipe(lambda: protocol, open(fd, "rb", 0))
    sending, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(os.dup(fd), "wb", 0))
    return _PtyTransport(reader, asyncio.StreamWriter(sending, flow, reader, loop), reading, restore)


def _lock(fd: int) -> None:
    """Keep others from opening it. Root is not kept, and so asks."""
    if any(fcntl.ioctl(fd, _TIOCGEXCL, bytes(4))):
        raise OSError(EBUSY, os.strerror(EBUSY))
    fcntl.ioctl(fd, termios.TIOCEXCL)
