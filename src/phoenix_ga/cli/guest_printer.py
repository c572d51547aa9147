"""Printing the output of several guests: whole lines with the guest's name before each."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from phoenix_ga.cli import stdio
from phoenix_ga.cli.errors import explain, with_name
from phoenix_ga.cli.output import escape, to_json

# Longer lines are printed in pieces, in bytes.
LINE_MAX = 64 * 1024


def is_coloured() -> bool:
    """Return whether stdout is a terminal that may have colours."""
    return os.isatty(stdio.STDOUT) and not os.environ.get("NO_COLOR")


class SharedOutput:
    """Stdout and stderr, shared by several guests. json: print lines of JSON."""

    def __init__(self, json: bool) -> None:
        self.json = json
        # A slow reader must not block the event loop, or the other guests time out.
        self._outputs = {fd: stdio.Output(fd) for fd in (stdio.STDOUT, stdio.STDERR)}
        self._encoding = sys.stdout.encoding or "utf-8"
        self._coloured = is_coloured()

    async def write(self, text: str, fd: int = stdio.STDOUT) -> None:
        """Print whole lines. Raises BrokenPipeError if the reader has gone."""
        if not self._coloured:
            text = click.unstyle(text)
        await self._outputs[fd].write(text.encode(self._encoding, "backslashreplace"))


class GuestPrinter:
    """Prefixes each line of a guest's output with its name, without interleaving lines."""

    def __init__(self, output: SharedOutput, name: str) -> None:
        self._output = output
        self._name = name
        self._prefix = f"{escape(name)}: "

    async def result(self, value: Any, text: str) -> None:
        """Print the result of a verb: `value` as a line of JSON, or the lines of `text`."""
        if self._output.json:
            await self._print_json(result=value)
        elif text:
            await self._output.write("".join(f"{self._prefix}{line}\n" for line in text.split("\n")))

    async def error(self, error: Exception, **members: str) -> None:
        """Print an error, in JSON with further members."""
        status, text = explain(error)
        if self._output.json:
            await self._print_json(**members, error={"text": text, "status": status})
        else:
            await self._output.write(f"phoenixctl: {escape(with_name(self._name, text))}\n", stdio.STDERR)

    async def output(self, data: bytes, fd: int = stdio.STDOUT) -> None:
        """Print whole lines of a program or a file, with control characters escaped."""
        lines = data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
        if self._output.json:
            member = "stdout" if fd == stdio.STDOUT else "stderr"
            objects = (to_json({"guest": self._name, member: line}) for line in lines)
            await self._output.write("".join(f"{line}\n" for line in objects))
        else:
            # Tabs are harmless, and columns are made of them.
            shown = ("\t".join(map(escape, line.removesuffix("\r").split("\t"))) for line in lines)
            await self._output.write("".join(f"{self._prefix}{line}\n" for line in shown), fd)

    async def _print_json(self, **members: Any) -> None:
        await self._output.write(to_json({"guest": self._name, **members}) + "\n")


class LineSplitter:
    """Passes the whole lines of a byte stream to a printer, and buffers the rest."""

    def __init__(self, printer: GuestPrinter, fd: int = stdio.STDOUT) -> None:
        self._printer = printer
        self._fd = fd
        self._buffer = bytearray()

    async def add(self, data: bytes) -> None:
        """Add data; print the lines that are complete."""
        newline = data.rfind(b"\n")
        end = len(self._buffer) + newline + 1 if newline >= 0 else 0
        self._buffer += data
        if not end and len(self._buffer) > LINE_MAX:
            end = len(self._buffer)
        if end:
            lines = bytes(self._buffer[:end])
            del self._buffer[:end]
            await self._printer.output(lines, self._fd)

    async def end(self) -> None:
        """Print the last line if it has no newline."""
        if self._buffer:
            await self._printer.output(bytes(self._buffer), self._fd)
            self._buffer.clear()
