"""Digests of bulk data, which yield to requests."""

from __future__ import annotations

from errno import EOPNOTSUPP
from time import monotonic, sleep

from phoenix_ga.agent.linux.digest import KernelDigest, new_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.core.throttle import Throttle

# Python's own digests hold the interpreter's lock while they work, and the kernel's hold the processor: others
# get it between pieces. In bytes.
_PIECE: Final = 32 * 1024
# Of the digests that verify a transfer, those that the loop computes: they are faster than the port.
_QUICK: Final = ("xxh64", "crc32")
# Bytes that are hashed to measure the speed, twice: a few milliseconds for the slowest.
_SAMPLE: Final = 64 * 1024


class ThrottledDigest:
    """A digest that is computed on a worker, in turns with others, and pauses while requests are active.

    Args:
        algorithm: "md5", "sha256", "crc32" or "xxh64".

    Attributes:
        quick: The loop may compute it too, whatever the size of the pieces.

    Raises:
        OSError: EOPNOTSUPP; this guest has no such digest.
    """

    def __init__(self, algorithm: str, throttle: Throttle) -> None:
        try:
            self._digest = new_digest(algorithm)
        except OSError as error:
            raise OSError(
                EOPNOTSUPP, f"no digest {algorithm} here: {error}; get-digests lists those that are"
            ) from None
        self.algorithm = algorithm
        self.quick = algorithm in _QUICK
        self._throttle = throttle

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes. For workers."""
        if self.quick:
            self._digest.update(data)
            return
        throttle = self._throttle
        in_kernel = type(self._digest) is KernelDigest
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
        """Add a few bytes, or many if it is `quick`. For the loop."""
        self._digest.update(data)

    def hexdigest(self) -> str:
        """Return the digest in hex. Nothing can be added afterwards."""
        return self._digest.hexdigest()


def transfer_digest(digest: bool | str, throttle: Throttle) -> ThrottledDigest | None:
    """Return the digest for the argument `digest` of a transfer; None for none. Raises OSError."""
    algorithm = {True: "sha256", False: "none"}[digest] if type(digest) is bool else digest
    return None if algorithm == "none" else ThrottledDigest(str(algorithm), throttle)


def measure_digests() -> dict[str, int]:
    """Return the digests for transfers that this guest has, with their speed in MB/s. For workers."""
    sample = bytes(_SAMPLE)
    speeds = {}
    for algorithm in (*_QUICK, "sha256"):
        try:
            digest = new_digest(algorithm)
        except OSError:
            continue
        times = []
        for _ in range(2):
            sleep(0)
            started = monotonic()
            digest.update(sample)
            times.append(monotonic() - started)
        digest.hexdigest()
        speeds[algorithm] = max(1, round(_SAMPLE / max(min(times), 1e-9) / 1e6))
    return speeds
