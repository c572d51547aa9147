"""`phoenixctl exporter` as a process of this machine."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from tests.cli.conftest import command_line, environment
from tests.support import TIMEOUT


class Answer(NamedTuple):
    """What the exporter answered."""

    status: int
    text: str
    headers: Message


class ExporterProcess:
    """An exporter of the guests that `guests` names, on a free port. url: without a slash at the end."""

    def __init__(self, directory: Path, guests: Mapping[str, str], *options: str, **variables: str) -> None:
        config = directory / "exporter" / "phoenix" / "config.toml"
        config.parent.mkdir(parents=True)
        lines = [f'"{name}" = "{endpoint}"' for name, endpoint in guests.items()]
        config.write_text("\n".join(["sources = []", "[guests]", *lines, ""]))
        variables = {"XDG_CONFIG_HOME": str(config.parent.parent), **variables}
        variables.setdefault("PHOENIX_HUB_DIRECTORY", str(directory / "no-hub"))
        self.process = subprocess.Popen(
            command_line("exporter", "--web.listen-address", "127.0.0.1:0", *options),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**variables),
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        serving = re.fullmatch(r"phoenixctl: serving (https?://127\.0\.0\.1:\d+)/\n", line)
        assert serving is not None, line
        self.url = serving[1]

    @property
    def address(self) -> str:
        return self.url.partition("//")[2]

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Return the answer to a request; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, headers=named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return Answer(response.status, response.read().decode(), response.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(), error.headers)

    def __enter__(self) -> ExporterProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(TIMEOUT) == 128 + signal.SIGTERM
        finally:
            self.process.kill()
            assert self.process.stderr is not None
            self.process.stderr.close()
