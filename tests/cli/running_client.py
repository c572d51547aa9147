"""Clients that run while something happens to their guest."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading

from tests.cli.conftest import environment

# phoenixctl, but less patient with a silent agent.
IMPATIENT = """
from phoenix_ga.cli.program import program
from phoenix_ga.client import guest
guest.connect.__wrapped__.__kwdefaults__.update(keepalive_interval=0.3, keepalive_timeout=1.5)
program()
"""


class RunningClient:
    """A phoenixctl, or another program of the client, that runs. words: the arguments of Python."""

    def __init__(self, *words: str, terminal: bool = False) -> None:
        self.master, slave = pty.openpty() if terminal else (-1, -1)
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=slave if terminal else subprocess.PIPE,
            stdout=slave if terminal else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(TERM="vt100"),
            start_new_session=True,
        )
        if terminal:
            os.close(slave)

    def wait_for_output(self) -> None:
        """Wait for the first bytes on stdout."""
        if self.master >= 0:
            assert os.read(self.master, 100)
        else:
            assert self.process.stdout is not None
            assert self.process.stdout.read(1)

    def wait_for_note(self) -> None:
        """Wait for the first line on stderr."""
        assert self.process.stderr is not None
        assert self.process.stderr.readline()

    def status(self, timeout: float = 20) -> tuple[int, str]:
        """Wait for the end; return the exit status, and what was written to stderr."""
        assert self.process.stderr is not None
        # Output must not block it, and stdin stays open.
        if self.process.stdout is not None:
            threading.Thread(target=self.process.stdout.read, daemon=True).start()
        try:
            status = self.process.wait(timeout)
            return status, self.process.stderr.read().decode()
        finally:
            self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.master >= 0:
            os.close(self.master)
