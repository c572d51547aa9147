"""The escape key of interactive sessions: `~` at the start of a line, as in ssh(1)."""

from __future__ import annotations

from typing import Final

ESCAPE: Final = ord("~")
_NEWLINES: Final = b"\r\n"
HINT: Final = "type ~. at the start of a line to disconnect, ~? for help"
HELP: Final = (
    "\r\nEscape sequences, at the start of a line only:\r\n"
    "  ~.  disconnect, even if the guest does not respond\r\n"
    "  ~~  send a ~\r\n"
    "  ~?  show this help\r\n"
)


class EscapeFilter:
    """Takes escape sequences out of what the user types."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._after_escape = False

    def filter(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what to send to the guest, and the escape commands found: `.` and `?`. Stops at `.`."""
        if ESCAPE not in data and not self._after_escape:
            self._at_line_start = data[-1] in _NEWLINES if data else self._at_line_start
            return data, b""
        kept = bytearray()
        commands = bytearray()
        for byte in data:
            if self._after_escape:
                self._after_escape = False
                if byte in b".?":
                    commands.append(byte)
                    if byte == ord("."):
                        break
                    continue
                if byte != ESCAPE:
                    kept.append(ESCAPE)
            elif self._at_line_start and byte == ESCAPE:
                self._after_escape = True
                continue
            kept.append(byte)
            self._at_line_start = byte in _NEWLINES
        return bytes(kept), bytes(commands)
