"""A real agent process on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests import process_tree
from tests.ends.client import LineClient

TIMEOUT = 40.0
SOURCE = Path(__file__).parent.parent / "src"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition()` is true; fail where it does not become so."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class AgentProcess:
    """`phoenix-ga` as a process of this machine, listening on a Unix socket in `directory`.

    port: where else to listen; empty: where `config`, the text of the config file, says.
    wrapper: arguments of a Python that runs the command after them, in the same process.
    environment: variables in addition to those of this process.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        port: str | None = None,
        config: str = "",
        wrapper: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._environment = environment or {}
        self._wrapper = [sys.executable, *wrapper] if wrapper else []
        self.socket_path = directory / "agent.sock"
        self.config_path = directory / "phoenix-ga.conf"
        self.config_path.write_text(config)
        self.log_path = directory / "agent.log"
        if port is None:
            port = f"unix:{self.socket_path}"
        self._options = [
            *(["-p", port] if port else []),
            *("-c", str(self.config_path)),
            *("--run-directory", str(directory / "run")),
            *options,
        ]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "phoenix_ga.agent", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(SOURCE), **self._environment},
            )
        deadline = time.monotonic() + TIMEOUT
        while "is up" not in self.log():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the agent did not start:\n{self.log()}")
            time.sleep(0.01)
        return process

    def connect(self) -> LineClient:
        return LineClient.connect(self.socket_path)

    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until `text` is in the log, so many times."""
        wait_for(lambda: self.log().count(text) >= times)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self, below: Path) -> list[str]:
        """Return what the agent has open below a directory; a file without a name counts as one there."""
        names = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            # It may be closed meanwhile.
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(link))
        return [name for name in names if name.startswith(f"{below}/")]

    def children(self) -> list[int]:
        """Return the process IDs of what the agent has started and not waited for."""
        return process_tree.children(self.process.pid)

    def wake_ups(self) -> int:
        """Return how often any thread of the agent has gone to sleep so far."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches"):
                        total += int(line.split()[1])
        return total

    def comes_to_rest(self, seconds: float) -> bool:
        """Return whether it sleeps for so long, now or soon.

        Whatever wakes it at least that often is found. What was begun before, or what others do to this machine
        once, such as a step of its clock, is not.
        """
        for _ in range(5):
            before = self.wake_ups()
            time.sleep(seconds)
            if self.wake_ups() == before:
                return True
        return False

    def stop(self) -> int:
        """End the agent with SIGTERM and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)

    def restart(self) -> None:
        """Start it again after it ended."""
        self.process.wait(TIMEOUT)
        self.log_path.write_text("")
        self.process = self._start()

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *error: object) -> None:
        """Kill the agent and the programs that it has started."""
        children = self.children() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait(TIMEOUT)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
