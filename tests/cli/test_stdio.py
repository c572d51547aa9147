"""Standard input and output as other programs hand them over: also in non-blocking mode, as rsync does."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from phoenix_ga.cli import stdio

SIZE = 1_000_000


def test_output_waits_for_a_slow_reader_of_a_pipe_that_does_not_block() -> None:
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    received = bytearray()

    def read() -> None:
        while data := os.read(source, 10_000):
            received.extend(data)
            time.sleep(0.001)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    content = os.urandom(SIZE)
    asyncio.run(stdio.Output(sink).write(content))
    os.close(sink)
    reader.join()
    os.close(source)
    assert bytes(received) == content


def test_input_waits_for_a_slow_writer_of_a_pipe_that_does_not_block() -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)

    def write() -> None:
        time.sleep(0.05)
        os.write(sink, b"late")
        os.close(sink)

    async def read() -> list[bytes]:
        incoming = stdio.Input(source)
        return [await incoming.read(), await incoming.read()]

    writer = threading.Thread(target=write)
    writer.start()
    assert asyncio.run(read()) == [b"late", b""]
    writer.join()
    os.close(source)
