"""Input, output and signals of a program in the guest."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import click

from phoenix_ga.cli import escapes, stdio, terminal
from phoenix_ga.cli.guest_printer import GuestPrinter, LineSplitter
from phoenix_ga.client import GuestProcess, GuestStream, PhoenixError, StreamError

# The exit status after the escape key, as after Ctrl-C.
_DISCONNECTED = 130


async def interact(process: GuestProcess, interactive: bool, with_terminal: bool, ends_input: bool = True) -> int:
    """Connect a program to stdin, stdout and stderr until it ends.

    Args:
        interactive: Forward stdin.
        with_terminal: The program has a terminal; ours is put into raw mode.
        ends_input: Close the program's stdin at the end of ours, or if it gets none.

    Returns:
        The exit status of the program.
    """
    raw = with_terminal and interactive and os.isatty(stdio.STDIN)
    if raw and os.isatty(stdio.STDERR):
        click.echo(f"phoenixctl: {escapes.HINT}", err=True)
    outputs = [asyncio.ensure_future(_copy(process.stdout, stdio.STDOUT))]
    if process.stderr is not None:
        outputs.append(asyncio.ensure_future(_copy(process.stderr, stdio.STDERR)))
    all_output = asyncio.gather(*outputs)
    feeding = asyncio.ensure_future(_feed(process, interactive, ends_input, escapes.EscapeFilter() if raw else None))
    try:
        with terminal.raw() if raw else nullcontext():
            async with _signals(process, with_terminal):
                either: set[asyncio.Future[Any]] = {all_output, feeding}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if feeding.done() and feeding.exception() is None and feeding.result():
                    return _DISCONNECTED
                await all_output
    finally:
        for task in (feeding, *outputs):
            task.cancel()
        await asyncio.gather(feeding, all_output, return_exceptions=True)
    return _status(process)


async def stream_output(process: GuestProcess, printer: GuestPrinter) -> int:
    """Print what a program without input writes, line by line, until it ends; return its exit status."""
    outputs = [asyncio.ensure_future(_print_lines(process.stdout, LineSplitter(printer, stdio.STDOUT)))]
    if process.stderr is not None:
        outputs.append(asyncio.ensure_future(_print_lines(process.stderr, LineSplitter(printer, stdio.STDERR))))
    try:
        await _feed(process, False, True, None)
        await asyncio.gather(*outputs)
    finally:
        for task in outputs:
            task.cancel()
        await asyncio.gather(*outputs, return_exceptions=True)
    return _status(process)


async def _print_lines(stream: GuestStream, lines: LineSplitter) -> None:
    try:
        while data := await stream.read_chunk():
            await lines.add(data)
    finally:
        await lines.end()


def _status(process: GuestProcess) -> int:
    returncode = process.returncode
    assert returncode is not None
    return returncode if returncode >= 0 else 128 - returncode


async def _copy(stream: GuestStream, fd: int) -> None:
    output = stdio.Output(fd)
    while data := await stream.read_chunk():
        await output.write(data)


async def _feed(
    process: GuestProcess, interactive: bool, ends_input: bool, escape_filter: escapes.EscapeFilter | None
) -> bool:
    """Send stdin to the program; return whether the user typed the escape sequence to disconnect."""
    try:
        if interactive:
            source = stdio.Input()
            while data := await source.read():
                if escape_filter is not None:
                    data, commands = escape_filter.filter(data)
                    if b"." in commands:
                        return True
                    if commands:
                        click.echo(escapes.HELP, nl=False, err=True)
                await process.stdin.write(data)
        if ends_input:
            await process.stdin.end()
    except StreamError:
        pass  # The program has ended; its output says how.
    return False


@asynccontextmanager
async def _signals(process: GuestProcess, with_terminal: bool) -> AsyncIterator[None]:
    """Send Ctrl-C and changes of the window size to the program. A second Ctrl-C within a second cancels us."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    main = asyncio.current_task()
    assert main is not None
    interrupted_at = -1.0

    def start(work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(_ignore_errors(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def interrupt() -> None:
        nonlocal interrupted_at
        if loop.time() - interrupted_at < 1:
            main.cancel()
        interrupted_at = loop.time()
        start(process.send_signal(signal.SIGINT))

    def resize() -> None:
        start(process.resize(*terminal.size()))

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


async def _ignore_errors(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except PhoenixError:
        pass  # The program has ended meanwhile.
