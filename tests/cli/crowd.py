"""A crowd of agents in one process, honest, silent and hostile ones: `python -m tests.cli.crowd DIRECTORY`.

Reads a list of [NAME, KIND] as JSON from stdin, listens on DIRECTORY/NAME.sock for each, prints a line when all
listen, and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
import sys
from collections.abc import Callable
from typing import Any

from phoenix_ga.agent.operations.metrics import read_metrics
from phoenix_ga.client import HANG_UP, SILENCE, MockTransport, Transport
from phoenix_ga.testing.mock_agent import Pouring, play
from phoenix_ga.wire.messages import Request

VERSION = "1.2.3"
_loads = itertools.count()

# By command; see MockTransport.
Script = dict[str, Any]


def returned(value: Any, tag: object) -> bytes:
    return json.dumps({"return": value, "tag": tag}).encode() + b"\n"


def ping(answer: Any) -> Script:
    """Answer `sync` correctly, and `ping` with `answer`."""
    return {"ping": answer}


def sync(answer: Callable[[Request], bytes]) -> Script:
    return {"sync": answer}


def error(text: str, code: Any) -> Callable[[Request], bytes]:
    return lambda request: json.dumps({"error": {"bufb64": text, "code": code}, "tag": request.tag}).encode() + b"\n"


# What each hostile kind does: how the summary is to call it, and its script.
HOSTILE: dict[str, tuple[str, Script]] = {
    "hangs-up": ("lost", {"sync": HANG_UP}),
    "hangs-up-later": ("lost", ping(HANG_UP)),
    "wrong-tag-of-sync": ("sent garbage", sync(lambda request: b"\xff" + returned(request.arguments["id"], "x"))),
    "wrong-id-of-sync": ("sent garbage", sync(lambda request: b"\xff" + returned(-1, request.tag))),
    "sync-without-its-mark": ("sent garbage", sync(lambda request: returned(request.arguments["id"], request.tag))),
    "no-json": ("sent garbage", sync(lambda request: b"login: \n" * 3)),
    "wrong-tag": ("sent garbage", ping(returned(VERSION, "x"))),
    "no-tag": ("sent garbage", ping(b'{"return": "1.2.3"}\n')),
    "a-list": ("broke the protocol", ping(b"[1, 2]\n")),
    "wrong-type": ("broke the protocol", ping(lambda request: returned([{"1": 2}], request.tag))),
    "no-value": ("broke the protocol", ping(lambda request: returned(None, request.tag))),
    "nested": ("broke the protocol", ping(b"[" * 100_000 + b"\n")),
    "bomb": ("broke the protocol", ping(b'{"return": [' + b"[]," * 2_000_000 + b"1]}\n")),
    "digits": ("broke the protocol", ping(b'{"return": ' + b"9" * 100_000 + b"}\n")),
    "twice": ("broke the protocol", ping(b'{"return": 1, "return": 2}\n')),
    "frame": ("broke the protocol", ping(b"\xfb\x02" + b"\0" * 20)),
    "error-of-a-wrong-form": ("broke the protocol", ping(error("%%%", True))),
    "escapes": ("refused", ping(error("G10yShtdMDtvd25lZAc=", 1))),
}


# As our agent does, because a hub asks in both dialects.
QEMU_SYNC: Script = {
    "guest-sync-delimited": lambda request: b"\xff" + json.dumps({"return": request.arguments["id"]}).encode() + b"\n"
}

# Those that never end: how the summary is to call them, the bytes, and the pause after each, in seconds.
POURING: dict[str, tuple[str, bytes, float]] = {
    "endless-line": ("broke the protocol", b"x" * 65536, 0),
    "endless-lines": ("broke the protocol", b'{"return": 1}\n' * 4096, 0),
    "drip": ("sent garbage", b"{", 0.1),
}


def busy(load: float) -> Script:
    """Answer `metrics` as this machine would, with more at each request."""
    values = read_metrics(False)
    asked = 0

    def metrics(_: Request) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        cpus = [{**cpu, "user": cpu["user"] + 30 * asked, "idle": cpu["idle"] + 70 * asked} for cpu in values["cpus"]]
        return {**values, "cpus": cpus, "loadavg": {"1m": load, "5m": load, "15m": load}}

    return {"metrics": metrics}


def _transport(kind: str) -> Transport:
    if kind == "busy":
        return MockTransport(busy(next(_loads)))
    if kind == "hung":
        return MockTransport({"metrics": SILENCE})
    if kind in POURING:
        _, piece, pause = POURING[kind]
        return Pouring(piece, pause)
    if kind == "silent":
        return MockTransport({"sync": SILENCE})
    return MockTransport(HOSTILE[kind][1] if kind in HOSTILE else {**ping(VERSION), **QEMU_SYNC})


async def _listen(kind: str, path: str) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await play(_transport(kind), reader, writer)

    await asyncio.start_unix_server(converse, path, limit=2**20)


async def _main(directory: str) -> None:
    loop = asyncio.get_running_loop()
    deaf = []
    for name, kind in json.loads(sys.stdin.readline()):
        path = f"{directory}/{name}.sock"
        if kind in ("deaf", "full"):
            # Nobody accepts; "full": and others wait already.
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(0)
            deaf.append(listener)
            if kind == "full":
                waiting = socket.socket(socket.AF_UNIX)
                waiting.connect(path)
                deaf.append(waiting)
        else:
            await _listen(kind, path)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(_main(sys.argv[1]))
