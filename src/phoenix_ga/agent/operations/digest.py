"""Digests, computed by whoever is quick and small here, and without keeping the loop waiting.

SHA-256 is the kernel's (AF_ALG, `Documentation/crypto/userspace-if.rst`), which uses what the processor
has for it, and costs no memory. Where a guest has not that, and for MD5, which is quicker so, it is Python's
own, which holds the interpreter's lock while it works. OpenSSL, which hashlib loads, would take as much
memory as half of the agent.
"""

from __future__ import annotations

import _socket as socket
from _queue import SimpleQueue
from os import cpu_count
from time import monotonic

from phoenix_ga.agent.core.throttle import in_a_hurry, rest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_SIZE: Final = 32
# Python's own is given so much at a time; then the loop may have the interpreter's lock.
_PIECE_SIZE: Final = 64 * 1024
# What the kernel is given at a time where it should give way: it lets nobody else have the processor meanwhile.
_SHORT_PIECE_SIZE: Final = 32 * 1024
# Who has a turn may compute; one processor is left to the loop, where there is another.
_turns: Final[SimpleQueue[None]] = SimpleQueue()
for _ in range(max(1, (cpu_count() or 1) - 1)):
    _turns.put(None)


class KernelSha256:
    """A SHA-256 that the kernel computes, with the methods of hashlib's. Raises OSError where it can't."""

    def __init__(self) -> None:
        origin = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            origin.bind(("hash", "sha256"))
            fd, _ = origin._accept()  # type: ignore[attr-defined]
        finally:
            origin.close()
        # Told what it is: asked for its address, such a socket fails.
        self._socket = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0, fd)

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes. For workers."""
        left = memoryview(data)
        _turns.get()
        try:
            while left:
                begun = monotonic()
                piece = left[:_SHORT_PIECE_SIZE] if in_a_hurry() else left
                left = left[self._socket.send(piece, socket.MSG_MORE) :]
                rest(begun)
        finally:
            _turns.put(None)

    def update_at_once(self, data: bytes | memoryview) -> None:
        """Take a few more bytes. For the loop."""
        self._socket.sendall(data, socket.MSG_MORE)

    def hexdigest(self) -> str:
        """Return the digest of all that came, in hex; nothing more can be taken then."""
        self._socket.send(b"")
        digest = self._socket.recv(_SIZE)
        self._socket.close()
        return digest.hex()


class PythonDigest:
    """A digest that Python computes."""

    def __init__(self, algorithm: str) -> None:
        self._digest = _new_md5() if algorithm == "md5" else _new_sha256()

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes. For workers."""
        whole = memoryview(data)
        for start in range(0, len(whole), _PIECE_SIZE):
            begun = monotonic()
            self._digest.update(whole[start : start + _PIECE_SIZE])
            rest(begun)

    def update_at_once(self, data: bytes | memoryview) -> None:
        """Take a few more bytes. For the loop."""
        self._digest.update(data)

    def hexdigest(self) -> str:
        """Return the digest of all that came, in hex."""
        digest: str = self._digest.hexdigest()
        return digest


def new_digest(algorithm: str) -> KernelSha256 | PythonDigest:
    """Return a new digest: `md5` or `sha256`. After `hexdigest`, nothing more can be taken."""
    if algorithm == "sha256":
        try:
            return KernelSha256()
        except (OSError, AttributeError):
            pass
    return PythonDigest(algorithm)


def _new_md5() -> Any:
    try:
        from _md5 import md5  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import md5
    return md5(usedforsecurity=False)


def _new_sha256() -> Any:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        try:
            # Where Python 3.12 has put it.
            from _sha2 import sha256  # type: ignore[import-not-found]
        except ImportError:
            from hashlib import sha256
    return sha256()
