"""Streams by the simple client: whole files, and pings beside them."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Final

from bench.agents import Agent
from tests.ends.client import DATA, END, RESET, WINDOW, Header, LineClient, PortError, encode_frame, encode_header

#: The payload of a frame.
PIECE: Final = 64 * 1024
_CREDIT: Final = 1024 * 1024
#: Pings count when a load has been under way for so long, in seconds.
WARM_UP: Final = 0.1


def get(agent: Agent, path: str, into: memoryview) -> None:
    """Receive a file of the guest that is as long as `into`, without a digest."""
    port = agent.port
    arguments = {"path": path, "digest": False, "window": _CREDIT}
    number = agent.call("file-get", **arguments)["stream"]
    size = granted = 0
    while True:
        header = _frame(port, number)
        if header.type == END:
            break
        port.fill(into[size : size + header.length])
        size += header.length
        if size - granted >= _CREDIT // 2:
            port.send(_grant(number, size - granted))
            granted = size
    message = _message(port, header)
    if not size == len(into) == message["size"]:
        raise PortError(f"{size} bytes came, {len(into)} were expected, {message} was said")


def put(agent: Agent, path: str, data: bytes) -> None:
    """Send a file to the guest, without a digest."""
    port = agent.port
    answer = agent.call("file-put", path=path, digest=False)
    number, credit = answer["stream"], answer["window"]
    view = memoryview(data)
    for start in range(0, len(data), PIECE):
        piece = view[start : start + PIECE]
        while credit < len(piece):
            credit += _granted(port, _frame(port, number))
        credit -= len(piece)
        port.send(b"".join((encode_header(DATA, number, len(piece)), piece)))
    port.send(encode_header(END, number, 0))
    while (header := _frame(port, number)).type == WINDOW:
        _granted(port, header)
    message = _message(port, header)
    if message["size"] != len(data):
        raise PortError(f"{len(data)} bytes were sent, {message} was said")


def pings_beside(agent: Agent, count: int, load: list[dict[str, Any]]) -> list[float]:
    """Ping `count` times while each request of `load` is repeated for ever; return the round trips, in seconds.

    A request of `load` whose answer has a `stream` is repeated when that has ended. With a load, the pings while
    it begins do not count, and it leaves requests under way: nothing but closing the port can follow.
    """
    port = agent.port
    scratch = memoryview(bytearray(256 * 1024))
    tags = itertools.count()
    loads: dict[str, dict[str, Any]] = {}
    streams: dict[int, tuple[dict[str, Any], int]] = {}
    trips: list[float] = []

    def ask(request: dict[str, Any]) -> None:
        tag = f"load-{next(tags)}"
        loads[tag] = request
        port.traffic.requests += 1
        port.send(json.dumps({**request, "tag": tag}).encode() + b"\n")

    def ping() -> float:
        port.traffic.requests += 1
        begin = time.perf_counter()
        port.send(b'{"execute": "ping", "tag": "ping"}\n')
        return begin

    for request in load:
        ask(request)
    counts_from = time.perf_counter() + (WARM_UP if load else 0)
    begin = ping()
    while len(trips) < count:
        unit = port.unit()
        if isinstance(unit, Header):
            request, size = streams[unit.stream]
            port.fill(scratch[: unit.length])
            if unit.type == END:
                del streams[unit.stream]
                ask(request)
            elif unit.type == DATA:
                size += unit.length
                if size >= _CREDIT // 2:
                    port.send(_grant(unit.stream, size))
                    size = 0
                streams[unit.stream] = request, size
            else:
                raise PortError(f"a frame of type {unit.type}: {bytes(scratch[: unit.length])!r}")
            continue
        answer = json.loads(unit)
        if "return" not in answer:
            raise PortError(f"{answer}")
        if answer["tag"] == "ping":
            if begin >= counts_from:
                trips.append(time.perf_counter() - begin)
            if len(trips) < count:
                begin = ping()
            continue
        request = loads.pop(answer["tag"])
        if isinstance(answer["return"], dict):
            streams[answer["return"]["stream"]] = request, 0
        else:
            ask(request)
    return trips


def _frame(port: LineClient, number: int) -> Header:
    """The header of the next frame, which must be of this stream."""
    unit = port.unit()
    if not isinstance(unit, Header) or unit.stream != number:
        raise PortError(f"a frame of stream {number} was expected, not {unit!r}")
    if unit.type == RESET:
        raise PortError(f"the stream was reset: {port.payload(unit)!r}")
    return unit


def _message(port: LineClient, header: Header) -> dict[str, Any]:
    """The closing message in the frame of this header."""
    if header.type != END:
        raise PortError(f"the end of the stream was expected, not {header!r}")
    message: dict[str, Any] = json.loads(port.payload(header))
    return message


def _grant(number: int, size: int) -> bytes:
    return encode_frame(WINDOW, number, size.to_bytes(4, "big"))


def _granted(port: LineClient, header: Header) -> int:
    if header.type != WINDOW:
        raise PortError(f"more credit was expected, not {header!r}")
    return int.from_bytes(port.payload(header), "big")
