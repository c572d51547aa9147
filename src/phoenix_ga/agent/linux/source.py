"""Kernel descriptors that become ready when something has changed, so that nobody has to poll."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# What one call of `read` takes, so that a flood does not hold back others.
READS_MAX: Final = 64


class Source:
    """A descriptor for the loop to watch.

    Attributes:
        fd: The descriptor, non-blocking.
        events: The events of epoll(7) that report a change.
        lost: Whether the kernel has dropped some changes. The reader resets it.
    """

    events = select.EPOLLIN | select.EPOLLET

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lost = False

    def read(self) -> tuple[list[Any], bool]:
        """Return what has changed, and whether there may be more to read. Never blocks."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


class PolledFile(Source):
    """A file of /proc that poll(2) reports as changed, without saying how: /proc/self/mountinfo."""

    events = select.EPOLLPRI | select.EPOLLET

    def __init__(self, path: str) -> None:
        super().__init__(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))

    def read(self) -> tuple[list[Any], bool]:
        return [True], False


class PressureTrigger(Source):
    """A threshold of pressure, see Documentation/accounting/psi.rst.

    Args:
        resource: `cpu`, `io` or `memory`.
        kind: `some` or `full`.
        stall, window: Report that tasks stalled for `stall` within `window`, in microseconds.

    Raises:
        OSError: The kernel has no pressure stall information, or refuses these values.
    """

    events = select.EPOLLPRI | select.EPOLLET

    def __init__(self, resource: str, kind: str, stall: int, window: int) -> None:
        self.resource, self.kind = resource, kind
        fd = os.open(f"/proc/pressure/{resource}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(fd, b"%s %d %d\0" % (kind.encode("ascii"), stall, window))
        except BaseException:
            os.close(fd)
            raise
        super().__init__(fd)

    def read(self) -> tuple[list[Any], bool]:
        return [(self.resource, self.kind)], False
