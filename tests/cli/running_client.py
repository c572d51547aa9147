"""Clients that run while something happens to their guest."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tests.cli.conftest import environment

PROGRAM = """
from phoenix_ga.cli.program import program
program()
"""
# Before such a program: less patience with a silent agent.
IMPATIENT = """
from phoenix_ga.client import guest
guest.connect.__wrapped__.__kwdefaults__.update(keepalive_interval=0.3, keepalive_timeout=1.5)
"""


class RunningClient:
    """A phoenixctl, or another program of the client, that runs. words: the arguments of Python.

    Attributes:
        connection: A connection to it that is closed with it.
    """

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
        self.connection: socket.socket | None = None

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of which it is the cause."""
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self.status()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

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
        self.process.send_signal(signal.SIGCONT)
        # Output must not block it, and stdin stays open.
        if self.process.stdout is not None:
            threading.Thread(target=self.process.stdout.read, daemon=True).start()
        try:
            status = self.process.wait(timeout)
            return status, self.process.stderr.read().decode()
        finally:
            self.close()

    def close(self) -> None:
        """Kill it, and close its files. It may be closed already."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        if self.connection is not None:
            self.connection.close()
