"""Digests of bulk data, which yield to requests."""

from __future__ import annotations

from time import monotonic

from phoenix_ga.agent.linux.digest import KernelSha256, new_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.core.throttle import Throttle

# Python's own digests hold the interpreter's lock while they work, and the kernel's hold the processor: others
# get it between pieces. In bytes.
_PIECE: Final = 32 * 1024


class ThrottledDigest:
    """A digest that is computed on a worker, in turns with others, and pauses while requests are active.

    Args:
        algorithm: "md5" or "sha256".
    """

    def __init__(self, algorithm: str, throttle: Throttle) -> None:
        self._digest = new_digest(algorithm)
        self._throttle = throttle

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes. For workers."""
        throttle = self._throttle
        in_kernel = type(self._digest) is KernelSha256
        left = memoryview(data)
        throttle.turns.get()
        try:
            while left:
                started = monotonic()
                size = len(left) if in_kernel and not throttle.requests_active else _PIECE
                self._digest.update(left[:size])
                left = left[size:]
                throttle.pause(started)
        finally:
            throttle.turns.put(None)

    def update_inline(self, data: bytes | memoryview) -> None:
        """Add a few bytes. For the loop."""
        self._digest.update(data)

    def hexdigest(self) -> str:
        """Return the digest in hex. Nothing can be added afterwards."""
        return self._digest.hexdigest()
