"""Guests of other hosts, through OpenSSH and with the user's own configuration of it.

For each host there is one connection, which is kept for a minute after its last use (`ControlPersist`). If the
host has a hub, the sockets of its guests are forwarded over that connection; otherwise `phoenixctl stdio GUEST` is
run there for each guest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path
from typing import Final

from phoenix_ga.client.endpoints import split_ssh
from phoenix_ga.client.errors import ConnectError
from phoenix_ga.client.hub_sockets import SYSTEM_DIRECTORY, socket_name
from phoenix_ga.client.program_transport import complaint, end_program, open_program
from phoenix_ga.client.transport import Transport, open_unix_socket

#: The environment variable with the command to use instead of `ssh`, such as `ssh -F /etc/phoenix/ssh_config`.
COMMAND_VARIABLE: Final = "PHOENIX_SSH_COMMAND"
_PERSIST: Final = 60
# Less than the client's own time limit: ssh knows more of the reason.
_CONNECT_TIMEOUT: Final = 8
#: Seconds that a host has to list its guests.
LISTING_TIMEOUT: Final = 10.0
_LISTING_MAX: Final = 16 * 1024 * 1024
# Arguments of one ssh(1).
_FORWARDED_AT_ONCE: Final = 100


@dataclass(frozen=True)
class SshHost:
    """A host. destination: `[USER@]HOST`. port: 0 for the configured one."""

    destination: str
    port: int = 0

    def argv(self, *options: str) -> list[str]:
        """Return the beginning of an ssh command that shares the host's connection."""
        command = shlex.split(os.environ.get(COMMAND_VARIABLE) or "ssh")
        settings = {
            "ControlMaster": "auto",
            "ControlPath": str(self.directory / "control"),
            "ControlPersist": str(_PERSIST),
            "ConnectTimeout": str(_CONNECT_TIMEOUT),
            "ServerAliveInterval": "5",
            "StreamLocalBindUnlink": "yes",
        }
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        port = ["-p", str(self.port)] if self.port else []
        return [*command, *words, *port, *options]

    @property
    def directory(self) -> Path:
        """The directory of the connection's sockets, which only this user can enter."""
        command = os.environ.get(COMMAND_VARIABLE, "")
        name = hashlib.sha256(f"{self.destination} {self.port} {command}".encode()).hexdigest()[:16]
        path = _private_directory() / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


async def open_ssh(address: str) -> Transport:
    """Connect to a guest of another host. Raises OSError and ConnectError."""
    destination, port, guest = split_ssh(address)
    host = SshHost(destination, port)
    connection = _connections.setdefault((host, asyncio.get_running_loop()), _HostConnection(host))
    return await connection.open(guest)


def list_guests(host: SshHost, timeout: float = LISTING_TIMEOUT) -> list[str]:
    """Return the names of a host's guests, as `phoenixctl guests` finds them there. Raises ConnectError."""
    argv = [*host.argv("-T"), "--", host.destination, "phoenixctl --json guests --quiet --local"]
    try:
        process = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise ConnectError(f"{host.destination}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise ConnectError(f"ssh: {error.strerror}", errno=error.errno) from None
    # The status is 1 if there is no guest.
    if process.returncode not in (0, 1):
        raise ConnectError(complaint(f"ssh {host.destination}", process.returncode, process.stderr[-4096:]))
    return [name for line in process.stdout[:_LISTING_MAX].splitlines() if (name := _name_on(line))]


def _name_on(line: bytes) -> str:
    """Return the name of the guest that a line describes, or an empty string."""
    try:
        name = json.loads(line)["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return name if isinstance(name, str) and name.isprintable() and "/" not in name else ""


class _HostConnection:
    """What this process knows of a host."""

    def __init__(self, host: SshHost) -> None:
        self._host = host
        self._lock = asyncio.Lock()
        # The socket of each guest that a hub of the host offers.
        self._offered: dict[str, str] | None = None
        self._forwarded: set[str] = set()

    async def open(self, guest: str) -> Transport:
        async with self._lock:
            if self._offered is None:
                self._offered = await self._look()
            if socket_name(guest) in self._offered and not self._forwarded:
                await self._forward(self._offered)
        if socket_name(guest) in self._forwarded:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return await open_unix_socket(str(self._host.directory / socket_name(guest)))
        argv = [*self._host.argv("-T"), "--", self._host.destination, f"phoenixctl stdio {shlex.quote(guest)}"]
        return await open_program(argv, f"ssh {self._host.destination}")

    async def _look(self) -> dict[str, str]:
        """Return the sockets that a hub of the host offers, by their names."""
        command = f'cd "${{PHOENIX_HUB_DIRECTORY:-{SYSTEM_DIRECTORY}}}/guests" 2>/dev/null && pwd && ls || :'
        output = await _run(self._host, [*self._host.argv("-T"), "--", self._host.destination, command], {0})
        directory, *names = output.splitlines() or [""]
        return {name: f"{directory}/{name}" for name in names if name.endswith(".sock") and "/" not in name}

    async def _forward(self, sockets: dict[str, str]) -> None:
        pairs = [f"{self._host.directory / name}:{path}" for name, path in sorted(sockets.items())]
        for start in range(0, len(pairs), _FORWARDED_AT_ONCE):
            words = [word for pair in pairs[start : start + _FORWARDED_AT_ONCE] for word in ("-L", pair)]
            await _run(self._host, [*self._host.argv("-O", "forward", *words), "--", self._host.destination], {0})
        self._forwarded.update(sockets)


_connections: Final[dict[tuple[SshHost, asyncio.AbstractEventLoop], _HostConnection]] = {}


async def _run(host: SshHost, argv: Sequence[str], good: set[int]) -> str:
    """Return what a program prints. Raises ConnectError if its exit status is not one of `good`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        output, error = await process.communicate()
    except BaseException:
        await end_program(process)
        raise
    if process.returncode not in good:
        raise ConnectError(complaint(f"ssh {host.destination}", process.returncode, error[-4096:]))
    return output[:_LISTING_MAX].decode(errors="replace")


def _private_directory() -> Path:
    """Return a directory of this user alone. Raises ConnectError."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(base, "phoenix-ssh") if base else Path(tempfile.gettempdir(), f"phoenix-ssh-{os.geteuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConnectError(f"{path} is not a directory of this user alone; remove it", errno=EACCES)
    return path
