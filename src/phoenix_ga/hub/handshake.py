"""The handshake with a guest whose dialect is not known yet. No I/O."""

from __future__ import annotations

import secrets
from typing import Final

from phoenix_ga.client.handshake import Handshake
from phoenix_ga.wire.units import RESET_BYTE

# More than the answers to both requests.
_TAIL_MAX: Final = 4096


class BothHandshakes:
    """Asks in both dialects: an agent that answers only `guest-sync-delimited` speaks only that of QEMU.

    Attributes:
        native: the guest speaks our dialect.
    """

    def __init__(self) -> None:
        self.native = False
        self._native = Handshake(secrets.randbits(53), f"hub-{secrets.token_hex(4)}-sync")
        self._mark = b""
        self._tail = b""

    def request(self) -> bytes:
        """Return the bytes to send; again if there is no answer.

        Only the last request counts. Answers come in order, so none to an earlier one is left when it is answered.
        """
        number = secrets.randbits(31)
        self._mark = RESET_BYTE + b'{"return": %d}' % number
        execute = b'{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number
        return self._native.request() + RESET_BYTE + execute

    def receive(self, data: bytes) -> bytes | None:
        """Process received bytes; return those after the answers, or None if they have not arrived."""
        if not self.native:
            rest = self._native.receive(data)
            if rest is not None:
                self.native = True
                self._tail, data = b"", rest
        self._tail = self._tail[-_TAIL_MAX:] + data
        found = self._tail.find(self._mark)
        end = self._tail.find(b"\n", found) if found >= 0 else -1
        return None if end < 0 else self._tail[end + 1 :]
