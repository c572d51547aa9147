"""What is printed of each of several guests, under its name: whole lines, whoever else speaks meanwhile."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from phoenix_ga.cli import stdio
from phoenix_ga.cli.errors import explain, with_name
from phoenix_ga.cli.output import escape, to_json

# A line that is longer goes out in pieces, a line each, in bytes.
LINE_MAX = 64 * 1024


class SharedOutput:
    """Stdout and stderr as several guests share them. json: lines of JSON are wanted."""

    def __init__(self, json: bool) -> None:
        self.json = json
        # A reader that is slow must not stop the loop, or the time of all others would run out meanwhile.
        self._outputs = {fd: stdio.Output(fd) for fd in (stdio.STDOUT, stdio.STDERR)}
        self._encoding = sys.stdout.encoding or "utf-8"
        self._coloured = os.isatty(stdio.STDOUT) and not os.environ.get("NO_COLOR")

    async def write(self, text: str, fd: int = stdio.STDOUT) -> None:
        """Print `text`, whole lines. Raises BrokenPipeError where nobody reads any more."""
        if not self._coloured:
            text = click.unstyle(text)
        await self._outputs[fd].write(text.encode(self._encoding, "backslashreplace"))


class GuestPrinter:
    """Speaks for one guest."""

    def __init__(self, output: SharedOutput, name: str) -> None:
        self._output = output
        self._name = name
        self._prefix = f"{escape(name)}: "

    async def result(self, value: Any, text: str) -> None:
        """Print what a verb found: a line of JSON, or `text` with the name before each line."""
        if self._output.json:
            await self._object(result=value)
        elif text:
            await self._lines(text)

    async def error(self, error: Exception, **where: str) -> None:
        """Print what went wrong. where: more members of the line of JSON."""
        status, text = explain(error)
        if self._output.json:
            await self._object(**where, error={"text": text, "status": status})
        else:
            await self._output.write(f"phoenixctl: {escape(with_name(self._name, text))}\n", stdio.STDERR)

    async def output(self, data: bytes, fd: int = stdio.STDOUT) -> None:
        """Print whole lines of a program or a file, harmless to a terminal."""
        lines = data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
        if self._output.json:
            member = "stdout" if fd == stdio.STDOUT else "stderr"
            objects = (to_json({"guest": self._name, member: line}) for line in lines)
            await self._output.write("".join(f"{line}\n" for line in objects))
        else:
            # Tabs do no harm, and columns are made of them.
            shown = ("\t".join(map(escape, line.removesuffix("\r").split("\t"))) for line in lines)
            await self._output.write("".join(f"{self._prefix}{line}\n" for line in shown), fd)

    async def _lines(self, text: str) -> None:
        await self._output.write("".join(f"{self._prefix}{line}\n" for line in text.split("\n")))

    async def _object(self, **members: Any) -> None:
        await self._output.write(to_json({"guest": self._name, **members}) + "\n")


class LineSplitter:
    """Cuts what comes in pieces into whole lines for a printer, and holds no more than one line."""

    def __init__(self, printer: GuestPrinter, fd: int = stdio.STDOUT) -> None:
        self._voice = printer
        self._fd = fd
        self._held = bytearray()

    async def add(self, data: bytes) -> None:
        """Print what there are whole lines of."""
        newline = data.rfind(b"\n")
        end = len(self._held) + newline + 1 if newline >= 0 else 0
        self._held += data
        if not end and len(self._held) > LINE_MAX:
            end = len(self._held)
        if end:
            lines = bytes(self._held[:end])
            del self._held[:end]
            await self._voice.output(lines, self._fd)

    async def end(self) -> None:
        """Print what is left."""
        if self._held:
            await self._voice.output(bytes(self._held), self._fd)
            self._held.clear()
