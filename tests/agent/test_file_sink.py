"""A file on its way out of a stream: whatever comes in which pieces, the file has those bytes."""

from __future__ import annotations

import hashlib
import os
import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.endpoints.file_sink import FileSink
from phoenix_ga.agent.operations.replacement import Replacement
from phoenix_ga.agent.protocol.streams import Streams
from phoenix_ga.wire.frames import DATA, PAYLOAD_LIMIT
from phoenix_ga.wire.streams import Credit, End, Reset, Stream
from phoenix_ga.wire.units import Frame, Parser

MEBI = 1 << 20


class Host:
    """The other end: sends as much as there is credit for, in one buffer that it uses again and again."""

    def __init__(self, path: Path, digest: bool) -> None:
        self.loop = Loop()
        self.output_size = 0
        self._parser = Parser()
        self._streams = Streams(self.loop, Workers(2), self, Throttle(), 10, count(1).__next__)  # type: ignore[arg-type]
        sink = FileSink(Replacement(str(path), 0o644, -1, -1), digest, Throttle())
        self._streams.open(sink, 0).start()
        self.stream = Stream(1, credit=sink.window, window=1, skips=True)
        self.last: End | Reset | None = None

    def send(self, pieces: list[bytes]) -> None:
        """Take what the agent sends."""
        self._parser.receive(b"".join(pieces))
        for unit in self._parser:
            assert isinstance(unit, Frame)
            event = self.stream.receive(unit)
            if isinstance(event, (End, Reset)):
                self.last = event
                self.loop.stop()
            else:
                assert isinstance(event, Credit)
                self.loop.call_soon(self._go_on)

    def run(self, pieces: list[bytes | int], message: dict[str, Any]) -> End | Reset | None:
        """Send bytes and holes, then the message, and return the answer."""
        self._left = pieces
        self._message = message
        self.loop.call_soon(self._go_on)
        self.loop.run()
        return self.last

    def _go_on(self) -> None:
        while self._left and self.stream.sending:
            piece = self._left[0]
            if isinstance(piece, int):
                self._receive(self.stream.skip(piece))
            elif len(piece) > self.stream.credit:
                return
            else:
                buffer = bytearray(piece)
                self.stream.data_header(len(piece))
                self._streams.receive(Frame(DATA, 1, memoryview(buffer)))
                buffer[:] = bytes(len(buffer))
            self._left.pop(0)
        if self.stream.sending:
            self._receive(self.stream.end(self._message))

    def _receive(self, data: bytes) -> None:
        parser = Parser()
        parser.receive(data)
        for unit in parser:
            assert isinstance(unit, Frame)
            self._streams.receive(unit)


def pieces_of(seed: int, holes: bool) -> list[bytes | int]:
    """Return some MiB in pieces of all sizes, with holes that are never two in a row."""
    choice = random.Random(seed)
    pieces: list[bytes | int] = []
    for _ in range(60):
        pieces.append(os.urandom(choice.choice([1, 4096, 65536, choice.randrange(1, PAYLOAD_LIMIT), PAYLOAD_LIMIT])))
        if holes and choice.random() < 0.3:
            pieces.append(choice.randrange(1, 3 * MEBI))
    return pieces


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("digest", [False, True])
def test_what_comes_is_what_is_in_the_file(tmp_path: Path, seed: int, holes: bool, digest: bool) -> None:
    pieces = pieces_of(seed, holes)
    content = b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)
    message: dict[str, Any] = {"size": len(content)}
    if digest and not holes:
        message["sha256"] = hashlib.sha256(content).hexdigest()
    last = Host(tmp_path / "file", digest).run(pieces, message)
    assert isinstance(last, End)
    assert last.message["size"] == len(content)
    assert ("sha256" in last.message) is digest
    assert (tmp_path / "file").read_bytes() == content


def test_a_digest_that_is_another_one_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    last = Host(tmp_path / "file", True).run([b"new"], {"size": 3, "sha256": hashlib.sha256(b"old").hexdigest()})
    assert isinstance(last, Reset)
    assert (tmp_path / "file").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 1


def test_an_empty_file_needs_no_ring(tmp_path: Path) -> None:
    assert isinstance(Host(tmp_path / "file", True).run([], {"size": 0}), End)
    assert (tmp_path / "file").read_bytes() == b""
