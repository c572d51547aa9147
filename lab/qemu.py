"""A running QEMU, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from pathlib import Path

from lab import keeper
from lab.errors import GuestError

_START_SECONDS = 180.0
_CONSOLE_LINES = 25


class Qemu:
    """QEMU with its files in `directory`, which is removed when QEMU is closed."""

    def __init__(self, directory: Path, command: list[str]) -> None:
        self.directory = directory
        self._status: int | None = None
        with (directory / "qemu.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                keeper.command_line(str(directory), command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Only the owner handles Ctrl-C.
                start_new_session=True,
            )

    def wait_started(self, socket: Path) -> None:
        """Wait until QEMU has made `socket`. Raises GuestError if QEMU ends first."""
        deadline = time.monotonic() + _START_SECONDS
        while not socket.exists():
            if self.ended(0.01) or time.monotonic() > deadline:
                raise self.failure("QEMU did not start")

    def ended(self, timeout: float) -> bool:
        """Return whether QEMU has ended or ends within `timeout` seconds."""
        if self._status is None:
            assert self._keeper.stdout is not None
            # The keeper writes one line: QEMU's exit status.
            if select.select([self._keeper.stdout], [], [], timeout)[0]:
                self._status = int(self._keeper.stdout.readline() or -1)
        return self._status is not None

    def wait_exit(self, timeout: float) -> int:
        """Wait for QEMU's end and return its exit status. Raises GuestError after `timeout` seconds."""
        self.ended(timeout)
        if self._status is None:
            raise self.failure("the guest did not power off in time")
        return self._status

    def close(self) -> None:
        """Kill QEMU if it has not ended, remove its directory, and wait until that is done."""
        # The keeper ends at EOF on its standard input.
        with self._keeper:
            pass

    def failure(self, what: str) -> GuestError:
        """Return a GuestError with QEMU's messages and the last lines of the console."""
        parts = [what]
        for title, name in (("QEMU said", "qemu.log"), ("the console's last lines", "console.log")):
            with contextlib.suppress(OSError):
                lines = (self.directory / name).read_text(errors="replace").split("\n")
                text = "\n".join([line.rstrip() for line in lines if line.strip()][-_CONSOLE_LINES:])
                if text:
                    parts.append(f"--- {title} ---\n{text}")
        parts.append(
            "To work in a guest by hand: python -m lab boot. To build its image again: python -m lab build --force"
        )
        return GuestError("\n".join(parts))
