"""The connector `@phoenix/GUEST` of pyinfra: operations in a guest, through its agent."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    execute_command_with_sudo_retry,
    extract_control_arguments,
    make_unix_command_for_host,
)

from phoenix_ga.client import Guest, PhoenixError, ProcessTimeoutError, connect
from phoenix_ga.client.sync import LoopThread

_TIMEOUT: Final = 30.0
# The longest output of a command, for stdout and stderr each, in bytes.
_OUTPUT_MAX: Final = 64 * 1024 * 1024
# What the shell says of a command that was terminated after its time.
_TIMED_OUT: Final = 124


_loops: Final[list[LoopThread]] = []
_lock: Final = threading.Lock()


def _loop() -> LoopThread:
    """Return the event loop of all guests: pyinfra turns threads into greenlets, and a thread can run one loop."""
    with _lock:
        if not _loops:
            _loops.append(LoopThread())
        return _loops[0]


class PhoenixConnector(BaseConnector):
    """Runs commands in a guest, and transfers files."""

    handles_execution = True

    _context: AbstractAsyncContextManager[Guest] | None = None
    _guest: Guest

    @staticmethod
    def make_names_data(name: str = "") -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Return the host for a guest, which `phoenixctl guests` lists, or for an endpoint."""
        if not name:
            raise InventoryError("name a guest, as in @phoenix/web1")
        yield f"@phoenix/{name}", {"phoenix_guest": name}, ["@phoenix"]

    def connect(self) -> None:
        """Connect to the agent. Raises ConnectError."""
        context = connect(self.host.data.phoenix_guest, timeout=_TIMEOUT)
        try:
            self._guest = _loop().run(context.__aenter__())
        except (PhoenixError, OSError) as error:
            raise ConnectError(str(error)) from None
        self._context = context

    def disconnect(self) -> None:
        """Close the connection."""
        if self._context is not None:
            _loop().run(_leave(self._context))
            self._context = None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command, and return whether it succeeded, and its output."""
        control = extract_control_arguments(arguments)  # type: ignore[arg-type]

        def execute() -> tuple[int, CommandOutput]:
            line = make_unix_command_for_host(self.state, self.host, command, **arguments)
            if print_input:
                echo(f"{self.host.print_prefix}>>> {line}", err=True)
            status, output = self._run(line.get_raw_value(), _input(control.get("_stdin")), control.get("_timeout"))
            if print_output:
                for each in output:
                    echo(f"{self.host.print_prefix}{each.line}", err=True)
            return status, output

        status, output = execute_command_with_sudo_retry(self.host, arguments, execute)  # type: ignore[arg-type]
        return status in (control.get("_success_exit_codes") or (0,)), output

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Copy a file to the guest; with sudo or su, with the rights of that user."""
        with get_file_io(filename_or_io) as file:
            data = file.read()
        content = data.encode() if isinstance(data, str) else data
        self._transfer(f"exec cat > {shlex.quote(remote_filename)}", content, arguments)
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Copy a file from the guest; with sudo or su, with the rights of that user."""
        content = self._transfer(f"exec cat < {shlex.quote(remote_filename)}", b"", arguments)
        with get_file_io(filename_or_io, "wb") as file:
            file.write(content)
        if print_output:
            echo(f"{self.host.print_prefix}file downloaded: {remote_filename}", err=True)
        return True

    def _transfer(self, command: str, content: bytes, arguments: dict[str, Any]) -> bytes:
        """Run a command that reads or writes a file. Raises OSError if it fails."""
        extract_control_arguments(arguments)  # type: ignore[arg-type]
        line = make_unix_command_for_host(self.state, self.host, StringCommand(command), **arguments)
        status, output, errors = self._complete(line.get_raw_value(), content, None)
        if status:
            raise OSError(errors.decode(errors="replace").strip() or f"exit status {status}")
        return output

    def _run(self, line: str, content: bytes, timeout: float | None) -> tuple[int, CommandOutput]:
        status, *outputs = self._complete(line, content, timeout)
        lines = [
            OutputLine(name, text)
            for name, data in zip(("stdout", "stderr"), outputs)
            for text in data.decode(errors="replace").splitlines()
        ]
        return status, CommandOutput(lines)

    def _complete(self, line: str, content: bytes, timeout: float | None) -> tuple[int, bytes, bytes]:
        """Run a line in a shell. Raises ConnectError if the guest is lost."""
        work = self._guest.run(["sh", "-c", line], input=content, timeout=timeout, limit=_OUTPUT_MAX)
        try:
            completed = _loop().run(work)
        except ProcessTimeoutError as error:
            return _TIMED_OUT, error.stdout, error.stderr
        except PhoenixError as error:
            raise ConnectError(f"{self.host.name}: {error}") from None
        return completed.returncode, completed.stdout, completed.stderr


async def _leave(context: AbstractAsyncContextManager[Guest]) -> None:
    await context.__aexit__(None, None, None)


def _input(given: Any) -> bytes:
    """Return what `_stdin` is: a line, several lines, or a file."""
    if given is None:
        return b""
    lines = given.readlines() if hasattr(given, "readlines") else given
    lines = lines if isinstance(lines, (list, tuple)) else [lines]
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()
