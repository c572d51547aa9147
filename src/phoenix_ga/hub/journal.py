"""Entries with fields for systemd's journal, in its native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

#: The fields of an entry, by the names of the values of the record.
FIELDS: Final = {
    "user": "PHOENIX_USER",
    "uid": "PHOENIX_UID",
    "pid": "PHOENIX_PID",
    "program": "PHOENIX_PROGRAM",
    "guest": "PHOENIX_GUEST",
    "command": "PHOENIX_COMMAND",
    "result": "PHOENIX_RESULT",
    "duration": "PHOENIX_DURATION",
}
_PRIORITIES: Final = {"done": "6", "failed": "5", "refused": "4"}


def is_journal(fd: int) -> bool:
    """Return whether a descriptor leads to the journal, as the service manager says: systemd.exec(5)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """A connection to the journal. path: of its socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, text: str, record: Mapping[str, Any]) -> bool:
        """Write an entry with the message `text`; return false if the journal does not take it."""
        result = str(record.get("result", "")).partition(":")[0]
        fields = {"MESSAGE": text, "PRIORITY": _PRIORITIES.get(result, "6"), "SYSLOG_IDENTIFIER": "phoenix-hub"}
        fields.update((field, str(record[name])) for name, field in FIELDS.items() if name in record)
        try:
            self._socket.sendto(b"".join(_encode(*field) for field in fields.items()), self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _encode(name: str, value: str) -> bytes:
    """Return a field. Its length is given, because the value may have newlines."""
    data = value.encode("utf-8", "backslashreplace")
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
