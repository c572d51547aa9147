"""The digests that verify a transfer, and the choice of one."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Union

from phoenix_ga.client.errors import CommandError
from phoenix_ga.wire.streams import Skip

if TYPE_CHECKING:
    from phoenix_ga.client.commands import Commands

Verify = Union[bool, Literal["fast", "sha256", "none"]]

NONE: Final = "none"
SHA256: Final = "sha256"
_CRC32: Final = "crc32"
_XXH64: Final = "xxh64"
# Bytes that one CRC-32 covers.
_CRC_BLOCK: Final = 64 * 1024 * 1024


class _BlockCrc32:
    """The digest `crc32` of docs/protocol.md: the CRC-32 of each block, and the size, in one SHA-256."""

    def __init__(self) -> None:
        self._blocks = hashlib.sha256()
        self._block = 0
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view) >= (left := _CRC_BLOCK - self._size % _CRC_BLOCK):
            self._add(view[:left])
            self._blocks.update(self._block.to_bytes(4, "big"))
            self._block = 0
            view = view[left:]
        self._add(view)

    def _add(self, data: memoryview) -> None:
        self._block = zlib.crc32(data, self._block)
        self._size += len(data)

    def hexdigest(self) -> str:
        blocks = self._blocks.copy()
        blocks.update(self._block.to_bytes(4, "big") + self._size.to_bytes(8, "big"))
        return blocks.hexdigest()


def _xxh64() -> Any:
    from xxhash import xxh64

    return xxh64()


_MAKERS: Final[dict[str, Callable[[], Any]]] = {
    NONE: lambda: None,
    SHA256: hashlib.sha256,
    _CRC32: _BlockCrc32,
    _XXH64: _xxh64,
}


class Digest:
    """The digest of a stream: of its bytes, and for each hole of its length as 8 bytes, big-endian.

    Args:
        algorithm: "xxh64", "crc32", "sha256" or "none".
    """

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.has_holes = False
        self._digest = _MAKERS[algorithm]()

    def update(self, piece: bytes | memoryview | Skip) -> None:
        """Add a piece of the stream."""
        is_hole = isinstance(piece, Skip)
        self.has_holes |= is_hole
        if self._digest is not None:
            self._digest.update(piece.payload if isinstance(piece, Skip) else piece)

    def value(self) -> str | None:
        """Return the digest in hex; None if there is none."""
        return None if self._digest is None else str(self._digest.hexdigest())

    def members(self) -> dict[str, str]:
        """Return the members of a closing message that carry the digest."""
        value = self.value()
        return {} if value is None else {self.algorithm: value}


async def choose_digest(verify: Verify, *guests: Commands) -> str:
    """Return the name of the digest that verifies a transfer to, from or between guests.

    Args:
        verify: "fast", or True: the fastest digest that all sides have; "sha256"; "none", or False.
    """
    if verify in (False, NONE):
        return NONE
    if verify == SHA256:
        return SHA256
    if verify not in (True, "fast"):
        raise ValueError(f"verify must be 'fast', 'sha256' or 'none', not {verify!r}")
    # xxhash is optional.
    common = {_CRC32, SHA256, *([_XXH64] if find_spec("xxhash") else [])}
    slowest: dict[str, int] = {}
    for guest in guests:
        try:
            speeds = await guest.digests()
        except CommandError:
            # An agent without the command, or a policy that forbids it.
            return SHA256
        common &= speeds.keys()
        for name in common:
            slowest[name] = min(slowest.get(name, speeds[name]), speeds[name])
    return max(sorted(common), key=lambda name: slowest[name]) if common else SHA256
