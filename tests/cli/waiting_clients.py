"""Clients that wait for an agent, each in its own way, for tests in which they lose it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.cli.conftest import command_line, environment
from tests.cli.running_client import PROGRAM, RunningClient

# Its commands end by themselves, in case that nobody else ends them.
_LONG = "exec sleep 600"

RUN = """
import sys
from phoenix_ga.client import PhoenixError, connect_sync
patience = float(sys.argv[2])
options = {"timeout": patience, "keepalive_timeout": patience} if patience else {}
try:
    with connect_sync(sys.argv[1], **options) as guest:
        print(guest.run(["sh", "-c", sys.argv[3]]).returncode)
except PhoenixError as error:
    print(error, file=sys.stderr)
    sys.exit(125)
"""


class Place(Protocol):
    """Where an agent runs, and how clients reach it.

    Attributes:
        endpoint: For the words of phoenixctl.
        directory: For files on this host.
        there: A directory on the agent's side.
        greeter: The address of a server on the agent's side that says "up" and then echoes.
        patience: The option --timeout, in seconds; 0 for its default.
        preamble: Python code that clients run first.
    """

    endpoint: str
    directory: Path
    there: str
    patience: int
    preamble: str

    @property
    def greeter(self) -> str: ...

    def big_file_there(self, name: str) -> None:
        """Make a big file in the directory `there`."""

    def big_file_here(self, name: str) -> None:
        """Make a big file in `directory`."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists in the directory `there`."""

    def wait_until_copying(self, client: RunningClient) -> None:
        """Wait until data has passed, and let the rest take long."""


def start(place: Place, *words: str, terminal: bool = False) -> RunningClient:
    """Start phoenixctl."""
    patience = ("--timeout", str(place.patience)) if place.patience else ()
    return RunningClient("-c", place.preamble + PROGRAM, *patience, *words, terminal=terminal)


def start_exec(place: Place) -> RunningClient:
    client = start(place, "exec", place.endpoint, "--", "sh", "-c", f"echo up; {_LONG}")
    client.wait_for_output()
    return client


def start_exec_with_input(place: Place) -> RunningClient:
    client = start(place, "exec", "-i", place.endpoint, "--", "sh", "-c", "echo up; exec cat")
    client.wait_for_output()
    return client


def start_run(place: Place) -> RunningClient:
    command = f"touch {place.there}/ran; {_LONG}"
    client = RunningClient("-c", place.preamble + RUN, place.endpoint, str(place.patience), command)
    client.wait_for(lambda: place.exists("ran"))
    return client


def start_shell(place: Place) -> RunningClient:
    client = start(place, "shell", place.endpoint, "-e", "PS1=prompt", terminal=True)
    client.wait_for_output()
    return client


def start_attach(place: Place) -> RunningClient:
    words = ("exec", "-d", place.endpoint, "--", "sh", "-c", f"echo up; {_LONG}")
    started = subprocess.run(command_line(*words), env=environment(), capture_output=True, text=True, timeout=60)
    client = start(place, "attach", place.endpoint, started.stdout.strip())
    client.wait_for_output()
    return client


def start_proxy(place: Place) -> RunningClient:
    client = start(place, "proxy", place.endpoint, place.greeter)
    client.wait_for_output()
    return client


def start_forward(place: Place) -> RunningClient:
    """Start a forward, and open a connection through it, which the client keeps."""
    path = place.directory / "forward.sock"
    client = start(place, "forward", place.endpoint, "-L", f"{path}:{place.greeter}")
    client.wait_for_note()
    client.connection = socket.socket(socket.AF_UNIX)
    client.connection.settimeout(60)
    client.connection.connect(str(path))
    assert client.connection.recv(2) == b"up"
    return client


def start_forward_from_guest(place: Place) -> RunningClient:
    client = start(place, "forward", place.endpoint, "-R", f"{place.there}/listening.sock:127.0.0.1:1")
    client.wait_for_note()
    return client


def start_cat(place: Place) -> RunningClient:
    place.big_file_there("big")
    client = start(place, "cat", f"{place.endpoint}:{place.there}/big")
    client.wait_for_output()
    return client


def start_copy_from_guest(place: Place) -> RunningClient:
    place.big_file_there("big")
    client = start(place, "cp", f"{place.endpoint}:{place.there}/big", str(place.directory / "copy"))
    place.wait_until_copying(client)
    return client


def start_copy_to_guest(place: Place) -> RunningClient:
    place.big_file_here("local")
    client = start(place, "cp", str(place.directory / "local"), f"{place.endpoint}:{place.there}/copy there")
    place.wait_until_copying(client)
    return client


def start_copy_of_directory(place: Place) -> RunningClient:
    place.big_file_there("tree/big")
    client = start(place, "cp", "-r", f"{place.endpoint}:{place.there}/tree", str(place.directory / "copied"))
    place.wait_until_copying(client)
    return client


def start_tee(place: Place) -> RunningClient:
    client = start(place, "tee", f"{place.endpoint}:{place.there}/new")
    assert client.process.stdin is not None
    client.process.stdin.write(b"something")
    client.process.stdin.flush()
    client.wait_for_output()
    return client


Start = Callable[[Place], RunningClient]

WAITING: dict[str, Start] = {
    "exec": start_exec,
    "exec -i": start_exec_with_input,
    "run()": start_run,
    "shell": start_shell,
    "attach": start_attach,
    "proxy": start_proxy,
    "forward -R": start_forward_from_guest,
    "cat": start_cat,
    "cp from the guest": start_copy_from_guest,
    "cp to the guest": start_copy_to_guest,
    "cp -r": start_copy_of_directory,
    "tee": start_tee,
}
