"""Digests with the least memory and time.

The kernel computes them (AF_ALG, Documentation/crypto/userspace-if.rst in the kernel's source), with the
processor's instructions for it if any. Without AF_ALG, and for MD5, Python's modules do. There is no XXH64 then.
"""

from __future__ import annotations

import _socket as socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Protocol

    class Digest(Protocol):
        def update(self, data: bytes | memoryview, /) -> object: ...
        def hexdigest(self) -> str: ...


# The kernel's name, the key that starts it, and the size of the result in bytes.
_KERNEL: Final = {
    "sha256": ("sha256", b"", 32),
    "xxh64": ("xxhash64", b"", 8),
    "crc32": ("crc32", b"\xff" * 4, 4),
}
# Python's constant may be missing (linux/if_alg.h).
_SOL_ALG: Final = 279
_ALG_SET_KEY: Final = 1
# Bytes that one CRC-32 covers.
CRC_BLOCK: Final = 64 * 1024 * 1024


class KernelDigest:
    """A digest computed by the kernel, with the methods of hashlib's objects.

    Args:
        algorithm: "sha256", "xxh64" or "crc32".

    Raises:
        OSError: The kernel has no AF_ALG, or not this algorithm.
    """

    def __init__(self, algorithm: str) -> None:
        name, key, self._size = _KERNEL[algorithm]
        self._algorithm = algorithm
        origin = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            origin.bind(("hash", name))
            if key:
                origin.setsockopt(_SOL_ALG, _ALG_SET_KEY, key)
            fd, _ = origin._accept()  # type: ignore[attr-defined]
        finally:
            origin.close()
        # The family is given because such a socket has no address to ask for.
        self._socket = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0, fd)

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        self._socket.sendall(data, socket.MSG_MORE)

    def hexdigest(self) -> str:
        """Return the digest in hex. Nothing can be added afterwards."""
        self._socket.send(b"")
        digest = self._socket.recv(self._size)
        self._socket.close()
        if self._algorithm == "sha256":
            return digest.hex()
        # The kernel returns little-endian numbers, and does not invert the CRC.
        number = int.from_bytes(digest, "little")
        return f"{number:016x}" if self._algorithm == "xxh64" else f"{number ^ 0xFFFFFFFF:08x}"


class _ZlibCrc32:
    def __init__(self) -> None:
        from zlib import crc32

        self._crc32 = crc32
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class BlockCrc32:
    """The digest "crc32": the CRC-32 of each block of 64 MiB, and the size, in one SHA-256."""

    def __init__(self) -> None:
        self._blocks = new_digest("sha256")
        self._block = _new_crc32()
        self._left = CRC_BLOCK
        self._size = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""
        self._size += len(data)
        while len(data) >= self._left:
            self._block.update(data[: self._left])
            data = data[self._left :]
            self._blocks.update(bytes.fromhex(self._block.hexdigest()))
            self._block, self._left = _new_crc32(), CRC_BLOCK
        self._block.update(data)
        self._left -= len(data)

    def hexdigest(self) -> str:
        """Return the digest in hex. Nothing can be added afterwards."""
        self._blocks.update(bytes.fromhex(self._block.hexdigest()) + self._size.to_bytes(8, "big"))
        return self._blocks.hexdigest()


def new_digest(algorithm: str) -> Digest:
    """Return a digest: "md5", "sha256", "crc32" or "xxh64". After `hexdigest`, nothing can be added.

    Raises:
        OSError: This system has none. Only "xxh64" fails.
    """
    if algorithm == "crc32":
        return BlockCrc32()
    if algorithm == "md5":
        return _new_md5()
    try:
        return KernelDigest(algorithm)
    except (OSError, AttributeError):
        if algorithm == "sha256":
            return _new_sha256()
        raise OSError("this kernel has no xxhash64 (AF_ALG)") from None


def _new_crc32() -> Digest:
    try:
        return KernelDigest("crc32")
    except (OSError, AttributeError):
        return _ZlibCrc32()


def _new_md5() -> Digest:
    try:
        from _md5 import md5  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import md5
    digest: Digest = md5(usedforsecurity=False)
    return digest


def _new_sha256() -> Digest:
    """Return Python's SHA-256: OpenSSL's, which uses the processor's instructions, up to eight times as fast."""
    try:
        from _hashlib import openssl_sha256 as sha256
    except ImportError:
        from hashlib import sha256
    digest: Digest = sha256()
    return digest
