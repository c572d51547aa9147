"""Asks an agent as clients of the QEMU Guest Agent do."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.ends.client import LineClient
from tests.support import wait_for


class GuestError(Exception):
    """The agent answered with an error; the text is its `desc`."""


def call(client: LineClient, execute: str, **arguments: Any) -> Any:
    """Return what a command returns. Underscores in arguments stand for dashes. Raises GuestError."""
    message = {"execute": execute, "arguments": {name.replace("_", "-"): arguments[name] for name in arguments}}
    client.send(json.dumps(message).encode() + b"\n")
    answer = client.answer()
    if "error" in answer:
        assert answer["error"]["class"] == "GenericError", answer
        raise GuestError(answer["error"]["desc"])
    return answer["return"]


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def result(client: LineClient, pid: int) -> dict[str, Any]:
    """Return what is told of a program when it has ended."""
    told: dict[str, Any] = {}

    def ended() -> bool:
        told.update(call(client, "guest-exec-status", pid=pid))
        return bool(told["exited"])

    wait_for(ended)
    return told


def run(client: LineClient, path: str, *words: str, **arguments: Any) -> dict[str, Any]:
    """Run a program to its end, and return what is told of it, with its output decoded."""
    told = result(client, call(client, "guest-exec", path=path, arg=[*words], **arguments)["pid"])
    for name in ("out-data", "err-data"):
        if name in told:
            told[name] = base64.b64decode(told[name])
    return told
