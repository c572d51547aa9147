"""A running QEMU, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from pathlib import Path

from lab import keeper
from lab.errors import GuestError

_START_SECONDS = 30.0
_CONSOLE_LINES = 25


class Qemu:
    """QEMU with the working directory `directory`, which is removed with it."""

    def __init__(self, directory: Path, command: list[str]) -> None:
        self.directory = directory
        self._status: int | None = None
        with (directory / "qemu.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                keeper.command_line(str(directory), command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for the owner: it is the one to decide.
                start_new_session=True,
            )

    def wait_started(self, socket: Path) -> None:
        """Wait until QEMU has made `socket`; raises GuestError if it ends instead."""
        deadline = time.monotonic() + _START_SECONDS
        while not socket.exists():
            if self.ended(0.01) or time.monotonic() > deadline:
                raise self.failure("QEMU did not start")

    def ended(self, timeout: float) -> bool:
        """Whether QEMU has ended, or does within `timeout` seconds."""
        if self._status is None:
            assert self._keeper.stdout is not None
            # The keeper says one line: QEMU's exit status.
            if select.select([self._keeper.stdout], [], [], timeout)[0]:
                self._status = int(self._keeper.stdout.readline() or -1)
        return self._status is not None

    def wait_exit(self, timeout: float) -> int:
        """QEMU's exit status; raises GuestError if it has not ended within `timeout` seconds."""
        self.ended(timeout)
        if self._status is None:
            raise self.failure("the guest did not power off in time")
        return self._status

    def close(self) -> None:
        """Kill QEMU, if it has not ended, and remove its directory; returns when that is done."""
        # The end of its standard input is the keeper's sign.
        with self._keeper:
            pass

    def failure(self, what: str) -> GuestError:
        """A GuestError with QEMU's own messages and the last lines of the console."""
        parts = [what]
        for title, name in (("QEMU said", "qemu.log"), ("the console's last lines", "console.log")):
            with contextlib.suppress(OSError):
                lines = (self.directory / name).read_text(errors="replace").split("\n")
                text = "\n".join([line.rstrip() for line in lines if line.strip()][-_CONSOLE_LINES:])
                if text:
                    parts.append(f"--- {title} ---\n{text}")
        parts.append(
            "To look at a guest by hand: python -m lab boot; to build its image anew: python -m lab build --force"
        )
        return GuestError("\n".join(parts))
