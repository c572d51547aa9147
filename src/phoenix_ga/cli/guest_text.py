"""Text of a guest that is printed as it arrives."""

from __future__ import annotations

import codecs
import os

from phoenix_ga.cli import stdio
from phoenix_ga.cli.output import escape


class GuestText:
    """Prints text of one guest: unchanged, or with control characters escaped if stdout is a terminal.

    raw: never escape.
    """

    def __init__(self, raw: bool = False) -> None:
        self._output = stdio.Output()
        # A character may arrive in pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._escapes = not raw and os.isatty(stdio.STDOUT)

    async def write(self, data: bytes) -> None:
        """Print data. Raises BrokenPipeError if the reader has gone."""
        if self._escapes:
            lines = self._decoder.decode(data).split("\n")
            # Tabs are harmless, and columns are made of them.
            shown = ("\t".join(map(escape, line.removesuffix("\r").split("\t"))) for line in lines)
            data = "\n".join(shown).encode("utf-8", "backslashreplace")
        await self._output.write(data)
