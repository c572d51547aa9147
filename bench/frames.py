"""Streams by the simple client: whole files, and pings beside other requests."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Final

from bench.guest import DIRECTORIES, GuestFiles, Payload
from bench.port import Agent, Header, Port, PortError
from bench.settings import MEGA
from phoenix_ga.wire.frames import DATA, END, RESET, WINDOW, encode_header

#: The payload of a frame, in bytes.
PIECE: Final = 64 * 1024
_CREDIT: Final = 1024 * 1024
#: Time that a load runs before pings count, in seconds.
WARM_UP: Final = 0.1


def get(agent: Agent, path: str, into: memoryview) -> None:
    """Receive a file of the guest, whose size is that of `into`, without a digest."""
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
        raise PortError(f"received {size} bytes and {message}, expected {len(into)} bytes")


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
        raise PortError(f"sent {len(data)} bytes, but the agent received {message}")


def timed_get(agent: Agent, bulk: Payload, filesystem: str) -> float:
    """Receive the bulk payload from a filesystem, and return the throughput in MB/s."""
    received = memoryview(bytearray(len(bulk.data)))
    begin = time.perf_counter()
    get(agent, bulk.path(filesystem), received)
    seconds = time.perf_counter() - begin
    if received != bulk.data:
        raise PortError("the bytes that arrived are not those of the file in the guest")
    return len(received) / seconds / MEGA


def timed_put(agent: Agent, files: GuestFiles, filesystem: str) -> float:
    """Send the bulk payload to a filesystem, and return the throughput in MB/s."""
    target = f"{DIRECTORIES[filesystem]}/put"
    begin = time.perf_counter()
    put(agent, target, files.bulk.data)
    seconds = time.perf_counter() - begin
    files.check(target, files.bulk.data)
    return len(files.bulk.data) / seconds / MEGA


def pings_beside(agent: Agent, count: int, load: list[dict[str, Any]]) -> list[float]:
    """Ping `count` times while each request of `load` is repeated, and return the round trips, in seconds.

    A request whose answer has a `stream` is repeated when the stream has ended. The pings of the first WARM_UP
    seconds of a load do not count. Requests of the load are pending afterwards, so the port must be closed.
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
                raise PortError(f"unexpected frame of type {unit.type}: {bytes(scratch[: unit.length])!r}")
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


def _frame(port: Port, number: int) -> Header:
    """Return the header of the next frame, which must belong to this stream."""
    unit = port.unit()
    if not isinstance(unit, Header) or unit.stream != number:
        raise PortError(f"expected a frame of stream {number}, got {unit!r}")
    if unit.type == RESET:
        raise PortError(f"the stream was reset: {_payload(port, unit)!r}")
    return unit


def _payload(port: Port, header: Header) -> bytes:
    payload = bytearray(header.length)
    port.fill(memoryview(payload))
    return bytes(payload)


def _message(port: Port, header: Header) -> dict[str, Any]:
    """Return the message in the END frame of this header."""
    if header.type != END:
        raise PortError(f"expected the end of the stream, got {header!r}")
    message: dict[str, Any] = json.loads(_payload(port, header))
    return message


def _grant(number: int, size: int) -> bytes:
    return encode_header(WINDOW, number, 4) + size.to_bytes(4, "big")


def _granted(port: Port, header: Header) -> int:
    if header.type != WINDOW:
        raise PortError(f"expected more credit, got {header!r}")
    return int.from_bytes(_payload(port, header), "big")
