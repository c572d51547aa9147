"""A crowd of agents in one process, honest, silent and hostile ones: `python -m tests.cli.crowd DIRECTORY`.

Takes a list of [NAME, KIND] as JSON from stdin, listens on DIRECTORY/NAME.sock for each, prints a line when all
are there, and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support import until_it_leaves

VERSION = "1.2.3"

Answer = Callable[[dict[str, Any]], bytes]


def returned(value: Any, request: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"return": value, "tag": request.get("tag"), **more}).encode() + b"\n"


def honest(request: dict[str, Any]) -> bytes:
    if request["execute"] == "sync":
        return b"\xff" + returned(request["arguments"]["id"], request)
    return returned(VERSION, request)


def after_sync(answer: Answer) -> Answer:
    """Return what answers `sync` as it should be, and all else with `answer`."""
    return lambda request: (honest if request["execute"] == "sync" else answer)(request)


def error(text: str, code: Any) -> Answer:
    return lambda request: (
        json.dumps({"error": {"bufb64": text, "code": code}, "tag": request["tag"]}).encode() + b"\n"
    )


# What each hostile kind answers: how the summary is to call it, and the bytes.
HOSTILE: dict[str, tuple[str, Answer]] = {
    "hangs-up": ("lost", lambda request: b""),
    "hangs-up-later": ("lost", after_sync(lambda request: b"")),
    "wrong-tag-of-sync": ("sent garbage", lambda request: b"\xff" + honest({**request, "tag": "x"})),
    "wrong-id-of-sync": ("sent garbage", lambda request: b"\xff" + returned(-1, request)),
    "sync-without-its-mark": ("sent garbage", lambda request: honest(request).lstrip(b"\xff")),
    "no-json": ("sent garbage", lambda request: b"login: \n" * 3),
    "wrong-tag": ("sent garbage", after_sync(lambda request: returned(VERSION, {"tag": "x"}))),
    "no-tag": ("sent garbage", after_sync(lambda request: b'{"return": "1.2.3"}\n')),
    "a-list": ("broke the protocol", after_sync(lambda request: b"[1, 2]\n")),
    "wrong-type": ("broke the protocol", after_sync(lambda request: returned([{"1": 2}], request))),
    "no-value": ("broke the protocol", after_sync(lambda request: returned(None, request))),
    "nested": ("broke the protocol", after_sync(lambda request: b"[" * 100_000 + b"\n")),
    "bomb": ("broke the protocol", after_sync(lambda request: b'{"return": [' + b"[]," * 2_000_000 + b"1]}\n")),
    "digits": ("broke the protocol", after_sync(lambda request: b'{"return": ' + b"9" * 100_000 + b"}\n")),
    "twice": ("broke the protocol", after_sync(lambda request: b'{"return": 1, "return": 2}\n')),
    "frame": ("broke the protocol", after_sync(lambda request: b"\xfb\x02" + b"\0" * 20)),
    "error-of-a-wrong-form": ("broke the protocol", after_sync(error("%%%", True))),
    "escapes": ("refused", after_sync(error("G10yShtdMDtvd25lZAc=", 1))),
}


async def _serve(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    rest = b""
    with until_it_leaves(writer):
        while received := await reader.read(2**18):
            # A client that waits for a while pads with as many newlines as a frame is long.
            *lines, rest = (rest + received).lstrip(b"\n").split(b"\n")
            for line in lines:
                start = line.find(b"{")
                if start < 0:
                    continue
                data = answer(json.loads(line[start:]))
                if not data:
                    return
                writer.write(data)
                await writer.drain()


async def _pour(piece: bytes, pause: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with until_it_leaves(writer):
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)


async def _be_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with until_it_leaves(writer):
        while await reader.read(65536):
            pass


# Those that never end: how the summary is to call them, the bytes, and how long they pause.
POURING: dict[str, tuple[str, bytes, float]] = {
    "endless-line": ("broke the protocol", b"x" * 65536, 0),
    "endless-lines": ("broke the protocol", b'{"return": 1}\n' * 4096, 0),
    "drip": ("sent garbage", b"{", 0.1),
}


def _handler(kind: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    if kind == "silent":
        return _be_mute
    if kind in POURING:
        _, piece, pause = POURING[kind]
        return lambda reader, writer: _pour(piece, pause, reader, writer)
    answer = HOSTILE[kind][1] if kind in HOSTILE else honest
    return lambda reader, writer: _serve(answer, reader, writer)


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
            await asyncio.start_unix_server(_handler(kind), path, limit=2**20)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(_main(sys.argv[1]))
