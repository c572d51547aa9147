"""Attending a program in the guest: its input and output, Ctrl-C, and the size of the window."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from phoenix_ga.cli import stdio, terminal
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.client import GuestError, GuestProcess, GuestStream, StreamBroken


async def interact(process: GuestProcess, interactive: bool, with_terminal: bool, ends_input: bool = True) -> int:
    """Carry input and output until the program ends; return the exit status.

    ends_input: where there is no input, or no more, the program sees the end of its stdin.
    """
    outputs = [asyncio.ensure_future(_show(process.stdout, stdio.STDOUT))]
    if process.stderr is not None:
        outputs.append(asyncio.ensure_future(_show(process.stderr, stdio.STDERR)))
    feeding = asyncio.ensure_future(_feed(process, interactive, ends_input))
    try:
        with terminal.raw() if with_terminal and interactive else nullcontext():
            async with _signals(process, with_terminal):
                await asyncio.gather(*outputs)
    finally:
        for task in (feeding, *outputs):
            task.cancel()
        await asyncio.gather(feeding, *outputs, return_exceptions=True)
    return _status(process)


async def stream_output(process: GuestProcess, printer: GuestPrinter) -> int:
    """Print what a program without input writes, line by line, until it ends; return the exit status."""
    outputs = [asyncio.ensure_future(_tell(process.stdout, LineSplitter(printer, stdio.STDOUT)))]
    if process.stderr is not None:
        outputs.append(asyncio.ensure_future(_tell(process.stderr, LineSplitter(printer, stdio.STDERR))))
    try:
        await _feed(process, False, True)
        await asyncio.gather(*outputs)
    finally:
        for task in outputs:
            task.cancel()
        await asyncio.gather(*outputs, return_exceptions=True)
    return _status(process)


async def _tell(stream: GuestStream, lines: LineSplitter) -> None:
    try:
        while data := await stream.read():
            await lines.add(data)
    finally:
        await lines.end()


def _status(process: GuestProcess) -> int:
    returncode = process.returncode
    assert returncode is not None
    return returncode if returncode >= 0 else 128 - returncode


async def _show(stream: GuestStream, fd: int) -> None:
    output = stdio.Output(fd)
    while data := await stream.read():
        await output.write(data)


async def _feed(process: GuestProcess, interactive: bool, ends_input: bool) -> None:
    try:
        if interactive:
            source = stdio.Input()
            while data := await source.read():
                await process.stdin.write(data)
        if ends_input:
            await process.stdin.end()
    except StreamBroken:
        pass  # The program has ended, which its output tells.


@asynccontextmanager
async def _signals(process: GuestProcess, with_terminal: bool) -> AsyncIterator[None]:
    """Pass Ctrl-C on, and the size of the window."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    main = asyncio.current_task()
    assert main is not None
    interrupted_at = -1.0

    def begin(work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(_quietly(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def interrupt() -> None:
        nonlocal interrupted_at
        if loop.time() - interrupted_at < 1:
            main.cancel()
        interrupted_at = loop.time()
        begin(process.send_signal(signal.SIGINT))

    def resize() -> None:
        begin(process.resize(*terminal.size()))

    loop.add_signal_handler(signal.SIGINT, interrupt)
    if with_terminal:
        loop.add_signal_handler(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.add_signal_handler(signal.SIGINT, main.cancel)
        for task in tasks:
            task.cancel()


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except GuestError:
        pass  # The program has ended meanwhile.
