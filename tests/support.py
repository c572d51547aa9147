"""A real agent process on this machine, and a client that knows nothing but lines of JSON."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TIMEOUT = 20.0
SOURCE = Path(__file__).parent.parent / "src"


@contextlib.contextmanager
def until_it_leaves(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Serve a client in the body, and hang up; that it leaves before is no error."""
    try:
        yield
    except OSError:
        pass
    finally:
        writer.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition()` is true; fail where it does not become so."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class RefusedError(Exception):
    """The agent answered with an error. text, code: from the answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        error = answer["error"]
        self.text = base64.b64decode(error["bufb64"]).decode()
        self.code = error["code"]
        super().__init__(f"{self.text} ({self.code})")


class LineClient:
    """Speaks to an agent over a connected socket, one line at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(TIMEOUT)
        self._file = connection.makefile("rb")
        self._tags = itertools.count(1)

    @classmethod
    def connect(cls, path: Path | str) -> LineClient:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        return cls(connection)

    @classmethod
    def reach(cls, path: Path | str) -> LineClient:
        """Connect as soon as somebody listens: a socket has its path before that."""
        clients: list[LineClient] = []

        def there() -> bool:
            with contextlib.suppress(OSError):
                clients.append(cls.connect(path))
            return bool(clients)

        wait_for(there)
        return clients[0]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, execute: str, tag: object = None, **arguments: object) -> None:
        """Send a request; without a tag where none is given."""
        message: dict[str, object] = {"execute": execute, "arguments": arguments}
        if tag is not None:
            message["tag"] = tag
        self.send(json.dumps(message).encode() + b"\n")

    def line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the agent closed the connection after {line!r}")
        return line

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        answer: dict[str, Any] = json.loads(self.line().lstrip(b"\xff"))
        return answer

    def call(self, execute: str, **arguments: object) -> Any:
        """Return what a command returns. Raises RefusedError."""
        tag = next(self._tags)
        self.ask(execute, tag, **arguments)
        answer = self.answer()
        assert answer["tag"] == tag, answer
        if "error" in answer:
            raise RefusedError(answer)
        return answer["return"]

    def sync(self, number: int = 4711) -> None:
        """Start anew: drop all up to the answer to `sync`."""
        self.send(b"\xff" + json.dumps({"execute": "sync", "arguments": {"id": number}}).encode() + b"\n")
        while True:
            line = self.line()
            if b"\xff" in line and json.loads(line.rpartition(b"\xff")[2]) == {"return": number}:
                return

    def read_file(self, path: Path | str, **arguments: object) -> bytes:
        """Return what is in a file of the guest."""
        handle = self.call("file-open", path=str(path))
        data = b""
        while True:
            piece = self.call("file-read", handle_id=handle, **arguments)
            data += base64.b64decode(piece["bufb64"])
            if piece["eof"]:
                return data

    def write_file(self, path: Path | str, data: bytes) -> None:
        """Write a file of the guest."""
        handle = self.call("file-open", path=str(path), mode="w")
        self.call("file-write", handle_id=handle, bufb64=base64.b64encode(data).decode(), eof=True)

    def burst(self, name: str, path: Path | str, count: int = 100) -> None:
        """Send `count` tagged requests at once, one in ten a file-read, and see each answered once."""
        handle = self.call("file-open", path=str(path))
        tags = [f"{name}/{number}" for number in range(count)]
        for number, tag in enumerate(tags):
            if number % 10:
                self.ask("ping", tag)
            else:
                self.ask("file-read", tag, handle_id=handle, count=10_000)
        answers = [self.answer() for _ in tags]
        assert sorted(answer["tag"] for answer in answers) == sorted(tags)
        assert all("return" in answer for answer in answers)
        self.call("file-close", handle_id=handle)

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AgentProcess:
    """`phoenix-ga` as a process of this machine, listening on a Unix socket in `directory`.

    port: where else to listen; empty: where `config`, the text of the config file, says.
    """

    def __init__(self, directory: Path, *options: str, port: str | None = None, config: str = "") -> None:
        self.directory = directory
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
                [sys.executable, "-m", "phoenix_ga.agent", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
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

    def children(self) -> list[str]:
        """Return the process IDs of what the agent has started and not waited for."""
        pids = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pids += (task / "children").read_text().split()
        return pids

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
        self.process.kill()
        self.process.wait(TIMEOUT)
