"""SHA-256, computed by whoever is quick and small here.

The kernel (AF_ALG, `Documentation/crypto/userspace-if.rst`) uses what the processor has for it, and costs
no memory. Not every guest has that; then it is Python's own, which is slower. OpenSSL, which hashlib
loads, would take as much memory as half of the agent.
"""

from __future__ import annotations

import _socket as socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_SIZE: Final = 32


class KernelSha256:
    """A SHA-256 that the kernel computes, with the methods of hashlib's. Raises OSError where it can't."""

    def __init__(self) -> None:
        algorithm = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            algorithm.bind(("hash", "sha256"))
            fd, _ = algorithm._accept()  # type: ignore[attr-defined]
        finally:
            algorithm.close()
        self._socket = socket.socket(fileno=fd)

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._socket.send(rest, socket.MSG_MORE) :]

    def hexdigest(self) -> str:
        """Return the digest of all that came, in hex; nothing more can be taken then."""
        self._socket.send(b"")
        digest = self._socket.recv(_SIZE)
        self._socket.close()
        return digest.hex()


def new_sha256() -> Any:
    """Return a new SHA-256, with the methods `update` and `hexdigest`, of which the latter ends it."""
    try:
        return KernelSha256()
    except (OSError, AttributeError):
        return _new_python_sha256()


def _new_python_sha256() -> Any:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        try:
            # Where Python 3.12 has put it.
            from _sha2 import sha256  # type: ignore[import-not-found]
        except ImportError:
            from hashlib import sha256
    return sha256()
