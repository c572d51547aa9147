"""SHA-256 and MD5 with the least memory.

The kernel computes SHA-256 (AF_ALG, Documentation/crypto/userspace-if.rst in the kernel's source), with the
processor's instructions for it if any. Without AF_ALG, and for MD5, Python's own modules do. hashlib would
load OpenSSL, which takes half as much memory as the whole agent.
"""

from __future__ import annotations

import _socket as socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Protocol

    class Digest(Protocol):
        def update(self, data: bytes | memoryview, /) -> object: ...
        def hexdigest(self) -> str: ...


_SIZE: Final = 32


class KernelSha256:
    """SHA-256 computed by the kernel, with the methods of hashlib's objects.

    Raises:
        OSError: The kernel has no AF_ALG or no SHA-256.
    """

    def __init__(self) -> None:
        origin = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            origin.bind(("hash", "sha256"))
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
        digest = self._socket.recv(_SIZE)
        self._socket.close()
        return digest.hex()


def new_digest(algorithm: str) -> Digest:
    """Return a digest: "md5" or "sha256". After `hexdigest`, nothing can be added."""
    if algorithm == "sha256":
        try:
            return KernelSha256()
        except (OSError, AttributeError):
            return _new_sha256()
    return _new_md5()


def _new_md5() -> Digest:
    try:
        from _md5 import md5  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import md5
    digest: Digest = md5(usedforsecurity=False)
    return digest


def _new_sha256() -> Digest:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        try:
            # Since Python 3.12.
            from _sha2 import sha256  # type: ignore[import-not-found]
        except ImportError:
            from hashlib import sha256
    digest: Digest = sha256()
    return digest
