"""A guest may do anything with streams: each call ends in time with a clear error, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import json
import os
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from click.testing import CliRunner

from phoenix_ga.cli.program import program
from phoenix_ga.client import (
    ConnectionLostError,
    Guest,
    GuestTimeoutError,
    MockTransport,
    PhoenixError,
    ProtocolError,
    StreamError,
    TransferDamagedError,
    Transport,
    connect,
    connect_sync,
    timeouts,
)
from phoenix_ga.client.sockets import BACKLOG, GuestListener
from phoenix_ga.client.streams import PIECES_MAX
from phoenix_ga.wire.frames import DATA, END, RESET, SKIP, WINDOW, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from phoenix_ga.wire.units import Frame
from tests.client.conftest import Talk

Answer = Callable[[Request], bytes]
# Of each call. A test that is not over within the other has met a call without an end.
TIMEOUT = 0.3
# Against hanging only: a busy machine is slow.
PATIENCE = 30.0

EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202e"
FILE = {"stream": 9, "size": 1000, "mode": 0o600, "mtime": 0, "uid": 0, "gid": 0}
PROCESS = {"pid": 1, "window": 65536, "stream": 9, "stderr": 10}
SOCKET = {"stream": 9, "window": 65536}
LISTENER = {"stream": 9, "host": "127.0.0.1", "port": 80}
NO_NUMBERS = [0, -1, 2**32, 2**64, 10**300, 1.0, "9", True, None, [9], {"stream": 9}]
NO_WINDOWS = [-1, 2**24 + 1, 2**31, 2**32, 10**300, 1.0, "x", True, None]


def frame(type: int, payload: bytes = b"", stream: int = 9) -> bytes:
    return encode_header(type, stream, len(payload)) + payload


def data(payload: bytes, stream: int = 9) -> bytes:
    return frame(DATA, payload, stream)


def window(count: int, stream: int = 9) -> bytes:
    return frame(WINDOW, pack(">I", count), stream)


def skip(length: int) -> bytes:
    return frame(SKIP, pack(">Q", length))


def end(stream: int = 9, /, **message: Any) -> bytes:
    return frame(END, json.dumps(message).encode(), stream)


def reset(text: bytes = b"", stream: int = 9) -> bytes:
    return frame(RESET, text, stream)


def opened(value: Any, *frames: bytes, **wrong: Any) -> Answer:
    """Return what answers a request with `value`, changed as `wrong` has it, and then sends frames."""
    return lambda request: b"".join([*encode_return({**value, **wrong}, request.tag), *frames])


def converse(transport: Transport, work: Callable[[Guest], Awaitable[Any]], timeout: float = TIMEOUT) -> Any:
    """Do `work` with a guest; see that it ends, that no task outlives it, and that an error tells what met it.

    timeout: of each call.
    """

    async def conversation() -> Any:
        async with timeouts.timeout(PATIENCE), connect(transport, timeout=timeout) as guest:
            return await work(guest)

    async def alone() -> Any:
        try:
            return await conversation()
        finally:
            assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    start = time.monotonic()
    try:
        return asyncio.run(alone())
    except PhoenixError as error:
        if error.request is None:
            pytest.fail(f"nobody knows what met {error!r}")
        raise
    finally:
        assert time.monotonic() - start < PATIENCE, "a call had no end"


def resets(transport: MockTransport) -> list[int]:
    return [sent.stream for sent in transport.frames if sent.type == RESET]


# Frames of no stream


EVERY_FRAME = [
    frame(type, payload, stream)
    for type in (0, DATA, WINDOW, END, RESET, SKIP, 6, 255)
    for payload in (b"", b"\0" * 4, b"\0" * 8, b"{}", b"\xff" * 1000)
    for stream in (0, 8, 2**32 - 1)
]


@pytest.mark.parametrize("wild", EVERY_FRAME[::7], ids=lambda wild: wild[:12].hex())
def test_a_frame_where_no_stream_ever_was_ends_the_conversation(wild: bytes) -> None:
    with pytest.raises(ProtocolError, match="unexpected data") as caught:
        converse(MockTransport({"ping": wild}), Guest.ping)
    assert caught.value.fatal


def test_an_answer_opens_no_stream_for_who_asked_for_none() -> None:
    transport = MockTransport({"ping": opened({"stream": 9}, data(b"x"))})
    with pytest.raises(ProtocolError):
        converse(transport, Guest.ping)


def test_frames_of_no_stream_are_nothing_once_there_were_streams() -> None:
    gets = opened(FILE, *EVERY_FRAME, data(b"x"), *EVERY_FRAME, end(), *EVERY_FRAME, data(b"late"), end(), reset())
    transport = MockTransport({"file-get": gets, "ping": "still there"})

    async def work(guest: Guest) -> None:
        assert await (await guest.files.get_stream("/x")).stream.read_all() == b"x"
        transport.feed(b"".join(EVERY_FRAME) * 100)
        assert await guest.ping() == "still there"

    converse(transport, work)
    assert transport.frames == []


# Files that are got


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


HALF = bytes(1 << 18) * 2
HOSTILE_GETS: dict[str, tuple[Answer, type[Exception]]] = {
    "data beyond credit": (opened(FILE, *[data(bytes(1 << 18))] * 4, data(b"x")), StreamError),
    "data after the end": (opened(FILE, end(), data(b"x")), TransferDamagedError),
    "an unknown type": (opened(FILE, frame(6)), StreamError),
    "type 0": (opened(FILE, frame(0, b"x")), StreamError),
    "type 255": (opened(FILE, frame(255, b"x" * 1000)), StreamError),
    "a window without a number": (opened(FILE, frame(WINDOW)), StreamError),
    "a window of three bytes": (opened(FILE, frame(WINDOW, b"\0\0\1")), StreamError),
    "a window of five bytes": (opened(FILE, frame(WINDOW, bytes(5))), StreamError),
    "a window of a whole frame": (opened(FILE, frame(WINDOW, bytes(1 << 18))), StreamError),
    "more credit than there can be": (opened(FILE, window(2**31)), StreamError),
    "more and more credit": (opened(FILE, *[window(2**30)] * 3), StreamError),
    "only windows of nothing": (opened(FILE, window(0) * 10_000), GuestTimeoutError),
    "only data of nothing": (opened(FILE, data(b"") * 10_000), GuestTimeoutError),
    "a skip of three bytes": (opened(FILE, frame(SKIP, b"\0\0\1")), StreamError),
    "a skip of nine bytes": (opened(FILE, frame(SKIP, bytes(9))), StreamError),
    "a skip longer than any file": (opened(FILE, skip(2**63)), StreamError),
    "the longest skip there is": (opened(FILE, skip(2**64 - 1)), StreamError),
    "two skips in a row": (opened(FILE, skip(1), skip(1)), StreamError),
    "nothing between two skips": (opened(FILE, skip(1), data(b""), skip(1)), StreamError),
    "skips and no end": (opened(FILE, skip(5)), GuestTimeoutError),
    "last words that are no JSON": (opened(FILE, frame(END, b"bye")), StreamError),
    "last words that are no text": (opened(FILE, frame(END, b"\xfb\xff\0")), StreamError),
    "last words that are a list": (opened(FILE, frame(END, b"[]")), StreamError),
    "last words that are null": (opened(FILE, frame(END, b"null")), StreamError),
    "last words twice": (opened(FILE, frame(END, b'{"size": 0, "size": 0}')), StreamError),
    "last words that end early": (opened(FILE, frame(END, b'{"size": 0')), StreamError),
    "too many last words": (opened(FILE, frame(END, b" " * 65535 + b"{}")), StreamError),
    "last words of a whole frame": (opened(FILE, frame(END, b"{" * (1 << 18))), StreamError),
    "last words nested for ever": (opened(FILE, frame(END, b'{"size": %s}' % nested(30_000))), StreamError),
    "a size of a thousand digits": (opened(FILE, frame(END, b'{"size": 1%s}' % (b"0" * 1000))), StreamError),
    "a size of two hundred digits": (opened(FILE, end(size=10**200)), TransferDamagedError),
    "a size in words": (opened(FILE, end(size="none")), TransferDamagedError),
    "a size that is a truth": (opened(FILE, data(b"x"), end(size=True)), TransferDamagedError),
    "a size with a point": (opened(FILE, data(b"x"), end(size=1.0)), TransferDamagedError),
    "a size that is long": (opened(FILE, end(size="9" * 60_000)), TransferDamagedError),
    "a size that is evil": (opened(FILE, end(size=EVIL)), TransferDamagedError),
    "no last words": (opened(FILE, frame(END)), TransferDamagedError),
    "the digest of something else": (opened(FILE, end(size=0, sha256="0" * 64)), TransferDamagedError),
    "a digest that is a number": (opened(FILE, end(size=0, sha256=0)), TransferDamagedError),
    "a digest that is nothing": (opened(FILE, end(size=0, sha256="")), TransferDamagedError),
    "an end before the end": (opened(FILE, end(size=1000), data(bytes(1000))), TransferDamagedError),
    "two ends": (opened(FILE, end(size=5), end(size=0)), TransferDamagedError),
    "a reset without a reason": (opened(FILE, reset()), StreamError),
    "a reset that is no JSON": (opened(FILE, reset(b"\xfb\xff")), StreamError),
    "a reset that is a list": (opened(FILE, reset(b"[1]")), StreamError),
    "a reset of wrong types": (opened(FILE, reset(b'{"bufb64": 5, "code": "5"}')), StreamError),
    "a reset of no base64": (opened(FILE, reset(b'{"bufb64": "%%%%", "code": 5}')), StreamError),
    "a reset of no UTF-8": (opened(FILE, reset(b'{"bufb64": "+/+/", "code": 5}')), StreamError),
    "a reset with an odd code": (opened(FILE, reset(b'{"bufb64": "", "code": -%s}' % (b"9" * 300))), StreamError),
    "a reset of a whole frame": (opened(FILE, reset(b"[" * (1 << 18))), StreamError),
    "frames after a reset": (opened(FILE, reset(), *EVERY_FRAME, data(b"x"), end(size=0)), StreamError),
    "garbage after a frame": (opened(FILE, data(b"x"), b"garbage\n"), ProtocolError),
    "a damaged header": (opened(FILE, data(b"x")[:-3] + b"\xfb" * 20 + b"\n"), ProtocolError),
    "a frame that is too long": (opened(FILE, bytes.fromhex("fb015b480000000900040001")), ProtocolError),
    "half a frame": (opened(FILE, data(b"xyz")[:-1]), GuestTimeoutError),
    "no object": (lambda request: b"".join(encode_return([9], request.tag)), ProtocolError),
    "a size of the wrong type": (opened(FILE, size="big"), ProtocolError),
    "a mode out of range": (opened(FILE, mode=10**30), ProtocolError),
    "no time": (opened(FILE, mtime=None), ProtocolError),
    **{f"stream {number!r:.20}": (opened(FILE, stream=number), ProtocolError) for number in NO_NUMBERS},
}


@pytest.mark.parametrize(("answer", "error"), HOSTILE_GETS.values(), ids=HOSTILE_GETS.keys())
def test_a_hostile_get_leaves_nothing(talk: Talk, answer: Answer, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        talk(MockTransport({"file-get": answer}), "get", "/x", tmp_path / "local", options={"timeout": TIMEOUT})
    assert_is_ours(caught.value)
    assert len(str(caught.value)) < 300
    assert os.listdir(tmp_path) == []


def assert_is_ours(error: BaseException) -> None:
    """It is one of the errors of the library, and tells what met it."""
    assert isinstance(error, PhoenixError)
    assert error.request is not None


def test_last_words_of_any_depth_are_only_wrong(tmp_path: Path) -> None:
    """What can just be read may be too deep to be shown."""
    for depth in range(880, 1000):
        answer = opened(FILE, frame(END, b'{"size": %s}' % nested(depth)))
        with pytest.raises((TransferDamagedError, StreamError)):
            converse(MockTransport({"file-get": answer}), lambda guest: guest.get("/x", tmp_path / "local"))


def assert_no_such_file(error: BaseException, local: Path) -> None:
    """It is a clear error: one of ours, or that of a local file that would be too large."""
    if not isinstance(error, PhoenixError):
        assert isinstance(error, OSError)
        assert (error.errno, error.filename) == (errno.EFBIG, str(local))


@pytest.mark.parametrize("length", [2**40, 2**62, 2**63 - 1], ids=["a TiB", "4 EiB", "8 EiB"])
def test_a_huge_hole_takes_no_room(length: int, tmp_path: Path) -> None:
    digest = hashlib.sha256(pack(">Q", length)).hexdigest()
    answer = opened(FILE, skip(length), end(size=length, sha256=digest))
    local = tmp_path / "local"
    try:
        converse(MockTransport({"file-get": answer}), lambda guest: guest.get("/x", local))
    except Exception as error:
        # How large a file can be depends on the filesystem.
        assert_no_such_file(error, local)
        assert os.listdir(tmp_path) == []
    else:
        assert local.stat().st_size == length
        assert local.stat().st_blocks < 100


@pytest.mark.parametrize("length", [2**62, 2**63 - 1, 1, 0], ids=["4 EiB", "8 EiB", "one byte", "nothing"])
def test_holes_without_end_and_a_byte_between_them(length: int, tmp_path: Path) -> None:
    local = tmp_path / "local"
    answer = opened(FILE, *[skip(length), data(b"x")] * 1000)
    with pytest.raises((PhoenixError, OSError)) as caught:
        converse(MockTransport({"file-get": answer}), lambda guest: guest.get("/x", local))
    assert_no_such_file(caught.value, local)
    assert os.listdir(tmp_path) == []


def test_more_holes_than_anybody_reads_end_the_stream() -> None:
    pair = skip(1) + data(b"x")
    transport = MockTransport({"file-get": opened(FILE), "ping": "still there"})

    async def work(guest: Guest) -> None:
        file = await guest.files.get_stream("/x", sparse=True)
        transport.feed(pair * (PIECES_MAX // 2 + 1))
        assert await guest.ping() == "still there"

        async def read() -> None:
            while await file.stream.read_piece():
                pass

        with pytest.raises(StreamError, match="holes"):
            await read()

    converse(transport, work)
    assert resets(transport) == [9]


def test_holes_where_none_belong() -> None:
    async def work(guest: Guest) -> None:
        async with guest.open("/x") as file:
            with pytest.raises(StreamError, match="unexpected or malformed SKIP"):
                await file.read()

    converse(MockTransport({"file-get": opened(FILE, skip(2**62))}), work)


def test_a_huge_hole_does_not_flood_a_pipe(tmp_path: Path) -> None:
    """Where no hole can be, zeros come as bytes, at the pace of credit, and can be interrupted."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    transport = MockTransport({"file-get": opened(FILE, skip(2**62))})
    try:
        with pytest.raises(StreamError, match="unexpected or malformed SKIP"):
            converse(transport, lambda guest: guest.get("/x", pipe))
    finally:
        os.close(reader)
    assert transport.requests[-1].arguments["sparse"] is False


def test_what_is_no_file_is_written_as_it_is() -> None:
    answer = opened(FILE, data(b"x"), end(size=1, sha256=hashlib.sha256(b"x").hexdigest()))
    result = converse(MockTransport({"file-get": answer}), lambda guest: guest.get("/x", "/dev/null"))
    assert result.size == 1


def test_bytes_one_by_one_fill_no_memory() -> None:
    transport = MockTransport({"file-get": opened(FILE), "ping": "still there"})

    async def work(guest: Guest) -> None:
        async with (await guest.files.get_stream("/x")).stream as stream:
            tracemalloc.start()
            try:
                for _ in range(5):
                    transport.feed(data(b"x") * 10_000)
                    await guest.ping()
                assert tracemalloc.get_traced_memory()[0] < 1_000_000
            finally:
                tracemalloc.stop()
            assert len(await stream.read_chunk()) >= 4096

    converse(transport, work)


def test_one_number_twice_breaks_only_the_second_stream() -> None:
    transport = MockTransport({"file-get": opened(FILE)})

    async def work(guest: Guest) -> None:
        first = await guest.files.get_stream("/x")
        with pytest.raises(ProtocolError, match="is invalid") as caught:
            await guest.files.get_stream("/y")
        assert not caught.value.fatal
        transport.feed(data(b"x") + end())
        assert await first.stream.read_all() == b"x"
        # It is free now.
        transport.feed(opened(FILE)(transport.requests[1]))
        await (await guest.files.get_stream("/z")).stream.reset()

    converse(transport, work)
    assert resets(transport) == [9]


def test_an_answer_that_comes_twice_opens_one_stream() -> None:
    def twice(request: Request) -> bytes:
        return opened(FILE)(request) + opened(FILE, stream=10)(request) + data(b"x", 10) + data(b"y") + end()

    async def work(guest: Guest) -> None:
        assert await (await guest.files.get_stream("/x")).stream.read_all() == b"y"

    converse(MockTransport({"file-get": twice}), work)


# Files that are put


SMALL = b"what is put"
GOOD: dict[str, Any] = {"size": len(SMALL), "sha256": hashlib.sha256(SMALL).hexdigest()}


def at(type: int, *frames: bytes) -> Callable[[Frame], bytes]:
    """Return what sends frames when one of a type comes."""
    return lambda received: b"".join(frames) if received.type == type else b""


HOSTILE_PUTS: dict[str, tuple[Answer, Callable[[Frame], bytes], type[Exception]]] = {
    "no credit ever": (opened(SOCKET, window=0), at(DATA), GuestTimeoutError),
    "credit of nothing, many times": (opened(SOCKET, window(0) * 10_000, window=0), at(DATA), GuestTimeoutError),
    "credit for all but a byte": (opened(SOCKET, window=len(SMALL) - 1), at(DATA), GuestTimeoutError),
    "a malformed window": (opened(SOCKET, frame(WINDOW, b"\0"), window=0), at(DATA), StreamError),
    "too much credit at once": (opened(SOCKET), at(DATA, window(2**31)), StreamError),
    "too much credit in the end": (opened(SOCKET), at(DATA, *[window(2**30)] * 2), StreamError),
    "an unknown type": (opened(SOCKET), at(DATA, frame(77)), StreamError),
    "a skip": (opened(SOCKET), at(DATA, skip(1)), StreamError),
    "no last words ever": (opened(SOCKET), at(DATA), GuestTimeoutError),
    "data instead of last words": (opened(SOCKET), at(END, data(b"x")), StreamError),
    "data of nothing instead": (opened(SOCKET), at(END, *[data(b"")] * 1000), GuestTimeoutError),
    "credit instead of last words": (opened(SOCKET), at(END, *[window(1)] * 1000), GuestTimeoutError),
    "data before the last words": (opened(SOCKET), at(END, data(b"x"), end(**GOOD)), StreamError),
    "empty last words": (opened(SOCKET), at(END, end()), TransferDamagedError),
    "another size": (opened(SOCKET), at(END, end(**{**GOOD, "size": 10**9})), TransferDamagedError),
    "another digest": (opened(SOCKET), at(END, end(**{**GOOD, "sha256": "0" * 64})), TransferDamagedError),
    "a digest of a wrong type": (opened(SOCKET), at(END, end(**{**GOOD, "sha256": [1]})), TransferDamagedError),
    "no JSON at the end": (opened(SOCKET), at(END, frame(END, b"\0")), StreamError),
    "an end at once": (opened(SOCKET, end(size=0)), at(END), TransferDamagedError),
    "an end at once, and a second one": (opened(SOCKET, end(size=0), end(**GOOD)), at(END), StreamError),
    "an end at once, and then a reset": (opened(SOCKET, end(**GOOD), reset()), at(END), StreamError),
    "an end after the first bytes, and a reset": (
        opened(SOCKET, window=5),
        at(DATA, end(**GOOD), reset()),
        StreamError,
    ),
    "a reset at once": (opened(SOCKET, reset()), at(END), StreamError),
    "a reset at the end": (opened(SOCKET), at(END, reset(b"}{")), StreamError),
    "a reset that tells of damage": (
        opened(SOCKET),
        at(END, reset(b'{"bufb64": "", "code": 74}')),
        TransferDamagedError,
    ),
    "an answer without a window": (opened({"stream": 9}), at(END), ProtocolError),
    **{f"stream {number!r:.20}": (opened(SOCKET, stream=number), at(END), ProtocolError) for number in NO_NUMBERS},
    **{f"window {size!r:.20}": (opened(SOCKET, window=size), at(END), ProtocolError) for size in NO_WINDOWS},
}


@pytest.mark.parametrize("name", HOSTILE_PUTS)
def test_a_hostile_put_is_an_error(talk: Talk, name: str, tmp_path: Path) -> None:
    answer, on_frame, error = HOSTILE_PUTS[name]
    transport = MockTransport({"file-put": answer}, on_frame=on_frame)
    (tmp_path / "local").write_bytes(SMALL)
    with pytest.raises(error) as caught:
        talk(transport, "put", tmp_path / "local", "/x", options={"timeout": TIMEOUT})
    assert_is_ours(caught.value)


@pytest.mark.parametrize("name", HOSTILE_PUTS)
def test_a_hostile_end_of_a_file_that_is_written_is_an_error(name: str) -> None:
    answer, on_frame, error = HOSTILE_PUTS[name]
    transport = MockTransport({"file-put": answer}, on_frame=on_frame)

    async def work(guest: Guest) -> None:
        async with guest.open("/x", "wb") as file:
            await file.write(SMALL)

    if "digest" in name:
        # What is written piece by piece has no digest.
        converse(transport, work)
        return
    with pytest.raises(error) as caught:
        converse(transport, work)
    assert_is_ours(caught.value)


def test_credit_for_one_byte_at_a_time_is_slow_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(SMALL)

    def answer(received: Frame) -> bytes:
        return window(1) if received.type == DATA else end(**GOOD)

    transport = MockTransport({"file-put": opened(SOCKET, window=1)}, on_frame=answer)
    assert converse(transport, lambda guest: guest.put(tmp_path / "local", "/x")).size == len(SMALL)
    assert [sent.payload for sent in transport.frames[:-1]] == [bytes([byte]) for byte in SMALL]


def test_data_that_drips_for_ever_does_not_stretch_the_end_of_a_put(tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(SMALL)

    def drip() -> None:
        transport.feed(data(b""))
        asyncio.get_running_loop().call_later(TIMEOUT / 10, drip)

    def on_frame(received: Frame) -> bytes:
        if received.type == END:
            drip()
        return b""

    async def work(guest: Guest) -> None:
        start = time.monotonic()
        with pytest.raises(GuestTimeoutError):
            await guest.put(tmp_path / "local", "/x")
        assert time.monotonic() - start < PATIENCE

    transport = MockTransport({"file-put": opened(SOCKET)}, on_frame=on_frame)
    converse(transport, work)


# Programs


HOSTILE_RUNS: dict[str, tuple[Answer, type[Exception]]] = {
    "a process without a number": (opened(PROCESS, pid=None), ProtocolError),
    "a process with a name": (opened(PROCESS, pid="init"), ProtocolError),
    "a process beyond all numbers": (opened(PROCESS, pid=2**64), ProtocolError),
    "no stderr": (opened({"pid": 1, "window": 0, "stream": 9}), ProtocolError),
    "one stream for both": (opened(PROCESS, stderr=9), ProtocolError),
    "stderr out of range": (opened(PROCESS, stderr=2**32), ProtocolError),
    "a window out of range": (opened(PROCESS, window=-1), ProtocolError),
    "frames of streams that did not open": (opened(PROCESS, data(b"x"), stderr=0), ProtocolError),
    "no end": (opened(PROCESS, data(b"x")), GuestTimeoutError),
    "an end of stdout only": (opened(PROCESS, end(status=0)), GuestTimeoutError),
    "an end of stderr only": (opened(PROCESS, end(10)), GuestTimeoutError),
    "no status": (opened(PROCESS, end(), end(10)), ProtocolError),
    "a status that is true": (opened(PROCESS, end(status=True), end(10)), ProtocolError),
    "a status that is huge": (opened(PROCESS, end(status=10**300), end(10)), ProtocolError),
    "a status that is a list": (opened(PROCESS, end(status=[0]), end(10)), ProtocolError),
    "a signal that is none": (opened(PROCESS, end(signal=None, status=0), end(10)), ProtocolError),
    "a signal out of range": (opened(PROCESS, end(signal=128), end(10)), ProtocolError),
    "a status on stderr": (opened(PROCESS, end(), end(10, status=0)), ProtocolError),
    "stdout that does not fit": (opened(PROCESS, *[data(bytes(1 << 18))] * 5), StreamError),
    "stderr that does not fit": (opened(PROCESS, *[data(bytes(1 << 18), 10)] * 5), StreamError),
    "more than was allowed": (opened(PROCESS, data(bytes(2000))), StreamError),
    "a skip on stdout": (opened(PROCESS, skip(1)), StreamError),
    "a reset of stderr": (opened(PROCESS, end(status=0), reset(b"?", 10)), StreamError),
    "a reset of stdout": (opened(PROCESS, reset(b"?"), end(10)), StreamError),
    "an evil end of stderr": (opened(PROCESS, end(status=0), frame(END, b"[", 10)), StreamError),
}


@pytest.mark.parametrize(("answer", "error"), HOSTILE_RUNS.values(), ids=HOSTILE_RUNS.keys())
def test_a_hostile_program_is_an_error(talk: Talk, answer: Answer, error: type[Exception]) -> None:
    asked = {"input": bytes(100_000), "timeout": TIMEOUT, "limit": 1000}
    with pytest.raises(error) as caught:
        talk(MockTransport({"exec": answer}), "run", ["x"], **asked, options={"timeout": TIMEOUT})
    assert_is_ours(caught.value)


def test_a_program_that_ends_unheard_has_ended_all_the_same() -> None:
    answer = opened(PROCESS, data(b"out"), end(status=3), data(b"err", 10), end(10), end(), reset(), *EVERY_FRAME)
    completed = converse(MockTransport({"exec": answer}), lambda guest: guest.run(["x"], input=bytes(100_000)))
    assert (completed.returncode, completed.stdout, completed.stderr) == (3, b"out", b"err")


# Connections


HOSTILE_PEERS: dict[str, tuple[bytes, ...]] = {
    "more than there is room for": (data(bytes(1 << 18)),) * 5,
    "a skip": (skip(1),),
    "an unknown type": (frame(9),),
    "two ends": (end(), end()),
    "data after the end": (end(), data(b"x")),
    "last words that are no JSON": (frame(END, b"x"),),
    "too much credit": (window(2**31),),
    "a reset": (reset(),),
    "a reset that is garbage": (reset(b"\xff" * 1000),),
    "a reset after the end": (end(), reset()),
}


@pytest.mark.parametrize("frames", HOSTILE_PEERS.values(), ids=HOSTILE_PEERS.keys())
def test_a_hostile_connection_breaks(frames: tuple[bytes, ...]) -> None:
    transport = MockTransport({"connect": opened(SOCKET, *frames, window=0)})

    async def work(guest: Guest) -> None:
        reader, writer = await guest.connect("host", 1)
        writer.write(b"never taken")

        async def use() -> None:
            while True:
                await reader.read(1 << 20)
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionResetError):
            await use()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    converse(transport, work)


def test_an_end_without_room_for_what_was_written_is_given_up_with_the_guest() -> None:
    async def work(guest: Guest) -> None:
        reader, writer = await guest.connect("host", 1)
        writer.write(b"never taken")
        writer.close()
        assert await reader.read() == b""

    converse(MockTransport({"connect": opened(SOCKET, end(), window=0)}), work)


def test_a_stream_that_breaks_after_its_end_says_so_to_who_writes() -> None:
    transport = MockTransport({"connect": opened(SOCKET, data(b"x"), end(), reset(b'{"bufb64": "aGk=", "code": 5}'))})

    async def work(guest: Guest) -> None:
        stream = await guest.connect_stream("host", 1)
        assert await stream.read_all() == b"x"
        with pytest.raises(StreamError, match="hi"):
            await stream.write(b"x")
        with pytest.raises(StreamError, match="hi"):
            await stream.end()

    converse(transport, work)


def told(**value: Any) -> bytes:
    return json.dumps({"stream": 20, "window": 0, "host": "::1", "port": 1, **value}).encode() + b"\n"


HOSTILE_NEWS: dict[str, bytes] = {
    "garbage": b"garbage\n",
    "bytes": b"\xff\xfb\0\n",
    "an empty line": b"\n",
    "a list": b"[]\n",
    "a number": b"1\n",
    "nothing": b"{}\n",
    "a line without end": b"x" * 5000,
    "a long line": b"[" * 50_000 + b"\n",
    "the stream that tells it": told(stream=9),
    "a stream that is in use": told(stream=30),
    "the same stream twice": told() + told(),
    "a host that is a number": told(host=1),
    "a host without a port": b'{"stream": 20, "window": 0, "host": "x"}\n',
    "a port that is a name": told(port="http"),
    "a port with many digits": told(port=10**100),
    **{f"stream {number!r:.20}": told(stream=number) for number in NO_NUMBERS},
    **{f"window {size!r:.20}": told(window=size) for size in NO_WINDOWS},
}


async def accept_all(listener: GuestListener) -> None:
    while True:
        await listener.accept_stream()


@pytest.mark.parametrize("news", HOSTILE_NEWS.values(), ids=HOSTILE_NEWS.keys())
def test_hostile_news_of_a_connection_end_the_listening(news: bytes) -> None:
    def answer(request: Request) -> bytes:
        pieces = [data(news[start : start + 60_000]) for start in range(0, len(news), 60_000)]
        return opened(LISTENER, *pieces)(request)

    transport = MockTransport({"listen": answer, "file-get": opened(FILE, data(b"x", 30), stream=30), "ping": "yes"})

    async def work(guest: Guest) -> None:
        file = await guest.files.get_stream("/x")
        async with guest.listen() as listener:
            with pytest.raises(StreamError, match="broke the protocol"):
                await accept_all(listener)
        assert await guest.ping() == "yes"
        assert await file.stream.read_chunk() == b"x"

    converse(transport, work)
    assert 9 in resets(transport)


def test_news_that_come_with_the_answer_are_heard() -> None:
    answer = opened(LISTENER, data(told()[:10]), data(told()[10:]), data(b"hello", 20), end(20))

    async def work(guest: Guest) -> None:
        async with guest.listen() as listener:
            accepted = await listener.__anext__()
            assert (accepted.host, accepted.port) == ("::1", 1)
            assert await accepted.reader.read() == b"hello"
            accepted.writer.close()

    converse(MockTransport({"listen": answer}), work)


def test_an_end_of_the_listening_is_an_error_or_the_end_of_a_loop() -> None:
    answer = opened(LISTENER, end())

    async def work(guest: Guest) -> None:
        async with guest.listen() as listener:
            assert [accepted async for accepted in listener] == []
            with pytest.raises(StreamError, match="stopped listening"):
                await listener.accept_stream()

    converse(MockTransport({"listen": answer}), work)
    raises = pytest.raises(StreamError)
    with connect_sync(MockTransport({"listen": answer})) as guest, guest.listen() as listen, raises:
        listen.accept()


def test_connections_that_nobody_accepts_are_refused_when_they_are_many() -> None:
    transport = MockTransport({"listen": opened(LISTENER), "ping": "still there"})
    numbers = range(1000, 9000)

    async def work(guest: Guest) -> None:
        async with guest.listen() as listener:
            for start in range(0, len(numbers), 1000):
                some = numbers[start : start + 1000]
                transport.feed(data(b"".join(told(stream=number, host="", port=0) for number in some)))
                # What they send takes no room either.
                transport.feed(b"".join(data(bytes(1000), number) for number in some))
                assert await guest.ping() == "still there"
            for number in numbers[:BACKLOG]:
                stream = await listener.accept_stream()
                assert stream.id == number
                await stream.reset()

    tracemalloc.start()
    try:
        converse(transport, work)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sorted(resets(transport)) == [9, *numbers]
    # The script of the guest keeps all frames that it got.
    assert peak < 100_000_000


def test_refusals_without_end_are_read_at_the_pace_of_who_accepts() -> None:
    line = b'{"refused": 1}\n'
    transport = MockTransport({"listen": opened(LISTENER), "ping": "still there"})

    async def work(guest: Guest) -> None:
        async with guest.listen() as listener:
            for _ in range(3):
                transport.feed(data(line * (250_000 // len(line))))
                await guest.ping()
            transport.feed(data(told()))
            assert (await listener.accept_stream()).id == 20

    converse(transport, work)


# Links


def honest(request: Request) -> bytes:
    """Answer as an agent does, with enough data for each side to grant credit."""
    piece, news = bytes(1 << 16), json.dumps({"stream": 20, "window": 65536}).encode() + b"\n"
    digest = hashlib.sha256(piece * 10).hexdigest()
    answers = {
        "file-get": opened(FILE, *[data(piece)] * 10, end(size=10 << 16, sha256=digest)),
        "file-put": opened(SOCKET),
        "exec": opened(PROCESS, *[data(piece)] * 10, *[data(piece, 10)] * 10),
        "connect": opened(SOCKET, *[data(piece)] * 10),
        "listen": opened(LISTENER, data(news), *[data(piece, 20)] * 10, end(20)),
    }
    return answers[request.execute](request)


def honest_frames() -> Callable[[Frame], bytes]:
    digest = hashlib.sha256()
    size = 0

    def answer(received: Frame) -> bytes:
        nonlocal size
        if received.type == DATA:
            size += len(received.payload)
            digest.update(received.payload)
            return window(len(received.payload)) if received.stream == 9 else b""
        if received.type == END and received.stream == 9:
            return end(10) + end(status=0, size=size, sha256=digest.hexdigest())
        return b""

    return answer


class DoomedLink(MockTransport):
    """A link to an honest guest, with a fate.

    writes: how many it takes. then: what it does then: "end", "break" (only its sending side) or "hang".
    reads: how many bytes it delivers after the handshake before it ends. taken, delivered: how many so far.
    """

    def __init__(self, *, writes: int = 10**9, then: str = "end", reads: int = 10**9) -> None:
        commands = ("file-get", "file-put", "exec", "connect", "listen")
        super().__init__(dict.fromkeys(commands, honest), on_frame=honest_frames())
        self._writes = writes
        self.then = then
        self._reads = reads
        self._shaken = False
        self.taken = 0
        self.delivered = 0

    async def write(self, data: bytes) -> None:
        if self.taken == self._writes and not self.closed:
            if self.then == "hang":
                await asyncio.Event().wait()
            if self.then == "end":
                self.hang_up()
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.taken += 1
        await super().write(data)

    async def read(self) -> bytes:
        if not self._shaken:
            self._shaken = True
            return await super().read()
        rest = self._reads - self.delivered
        data = (await super().read())[:rest] if rest else b""
        self.delivered += len(data)
        return data


async def do_get(guest: Guest, directory: Path) -> None:
    await guest.get("/x", directory / "new")


async def do_put(guest: Guest, directory: Path) -> None:
    await guest.put(directory / "old", "/x")


async def do_run(guest: Guest, directory: Path) -> None:
    await guest.run(["cat"], input=bytes(100_000), timeout=guest.timeout)


async def do_connect(guest: Guest, directory: Path) -> None:
    reader, writer = await guest.connect("host", 1)
    writer.write(bytes(100_000))
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def do_listen(guest: Guest, directory: Path) -> None:
    async with guest.listen() as listener, await listener.accept_stream() as stream:
        await stream.read_all()
        await stream.write(bytes(50_000))
        await stream.end()


async def do_read(guest: Guest, directory: Path) -> None:
    async with guest.open("/x") as file:
        await file.read()


async def do_write(guest: Guest, directory: Path) -> None:
    async with guest.open("/x", "wb") as file:
        await file.write(bytes(100_000))


DOINGS = [do_get, do_put, do_run, do_connect, do_listen, do_read, do_write]
named = pytest.mark.parametrize("do", DOINGS, ids=lambda do: str(do.__name__))


def survives(link: DoomedLink, do: Callable[[Guest, Path], Awaitable[None]], tmp_path: Path) -> bool:
    """Tell whether `do` came to its end before the link did; if not, it has raised what it may."""
    (tmp_path / "old").write_bytes(bytes(100_000))
    # Only a link that hangs needs a clock to be found out.
    limit = TIMEOUT if link.then == "hang" else PATIENCE

    async def work(guest: Guest) -> None:
        # What has no time-out of its own is given up by who waits.
        async with timeouts.timeout(limit if do in (do_connect, do_listen) else None):
            await do(guest, tmp_path)

    try:
        converse(link, work, limit)
    except ConnectionLostError:
        assert not (tmp_path / "new").exists()
        return False
    except ConnectionResetError:
        assert do is do_connect
        return False
    except GuestTimeoutError:
        assert link.then == "hang"
        return False
    except asyncio.TimeoutError:
        assert link.then == "hang"
        assert do in (do_connect, do_listen)
        return False
    finally:
        (tmp_path / "new").unlink(missing_ok=True)
        assert os.listdir(tmp_path) == ["old"]
    return True


@named
@pytest.mark.parametrize("then", ["end", "break", "hang"])
def test_a_link_that_takes_no_more_at_any_step(
    do: Callable[[Guest, Path], Awaitable[None]], then: str, tmp_path: Path
) -> None:
    # The first write is the handshake.
    for steps in itertools.count(1):
        link = DoomedLink(writes=steps, then=then)
        if survives(link, do, tmp_path) and link.taken < steps:
            break
    assert steps > 2


@named
def test_a_link_that_ends_at_any_byte(do: Callable[[Guest, Path], Awaitable[None]], tmp_path: Path) -> None:
    whole = DoomedLink()
    assert survives(whole, do, tmp_path)
    for reads in (*range(0, whole.delivered, whole.delivered // 12), whole.delivered - 1):
        assert not survives(DoomedLink(reads=reads), do, tmp_path)


def test_a_broken_link_is_broken_for_everybody() -> None:
    async def work(guest: Guest) -> None:
        stream = await guest.connect_stream("host", 1)
        with pytest.raises(ConnectionLostError):
            await stream.write(b"x")
        assert guest.closed
        with pytest.raises(ConnectionLostError):
            await stream.read_all()
        with pytest.raises(ConnectionLostError) as caught:
            await guest.ping()
        assert caught.value.request is not None

    converse(DoomedLink(writes=2, then="break"), work)


# What people see


def evil_reset(code: int) -> bytes:
    return Stream(9, credit=0, window=0).reset(EVIL, code)


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ([evil_reset(5)], 1),
        ([end(size=EVIL)], 125),
        ([frame(END, json.dumps({EVIL: 1, "x": EVIL}).encode() + EVIL.encode())], 1),
    ],
    ids=["a reset", "a size", "last words"],
)
def test_what_a_guest_says_of_a_stream_is_harmless_on_a_terminal(
    frames: list[bytes], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_endpoint(endpoint: str, allow_tcp: bool, direct: bool) -> MockTransport:
        return MockTransport({"file-get": opened(FILE, *frames)})

    monkeypatch.setattr("phoenix_ga.client.guest.open_endpoint", open_endpoint)
    result = CliRunner().invoke(program, ["cp", "/vm.sock:/x", str(tmp_path / "local")])
    assert result.exit_code == status
    assert result.output.startswith("phoenixctl: ")
    assert result.output[:-1].isprintable()
    assert os.listdir(tmp_path) == []


def test_the_library_carries_what_a_reset_says() -> None:
    with pytest.raises(StreamError) as caught:
        converse(MockTransport({"file-get": opened(FILE, evil_reset(5))}), lambda guest: guest.get("/x", "/dev/null"))
    assert (caught.value.text, caught.value.code) == (EVIL, 5)
