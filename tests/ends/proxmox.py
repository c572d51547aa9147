"""A client of the QEMU Guest Agent that behaves like Proxmox VE (PVE::QMPClient)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.ends.client import LineClient

_SYNC = 12345


def ask_as_proxmox(path: Path, execute: str, /, **arguments: Any) -> Any:
    """Connect, sync and ask in one write, take the two lines after 0xFF, and return what the second one returns."""
    with LineClient.connect(path) as client:
        client.socket.settimeout(60)
        sync = {"arguments": {"id": _SYNC}, "execute": "guest-sync-delimited"}
        asked = {"arguments": arguments, "execute": execute}
        client.send(b"\xff" + json.dumps(sync).encode() + b"\n" + json.dumps(asked).encode())
        received = b""
        while received.rpartition(b"\xff")[2].count(b"\n") < 2 or b"\xff" not in received:
            received += client.socket.recv(65536)
    first, second, rest = received.rpartition(b"\xff")[2].split(b"\n", 2)
    assert rest == b""
    assert json.loads(first) == {"return": _SYNC}
    answer = json.loads(second)
    assert "error" not in answer, answer
    return answer["return"]
