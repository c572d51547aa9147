"""Running a command of this host while guests are frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from phoenix_ga.cli.errors import complain
from phoenix_ga.client.program_transport import end_program

# As a shell reports a program that it cannot start.
_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
# Seconds between SIGTERM and SIGKILL, if phoenixctl is ended by a signal.
_GRACE: Final = 5.0


async def run_host_command(argv: Sequence[str]) -> int:
    """Run a program with our stdin, stdout and stderr; return its exit status, 128+N if signal N ended it.

    If this is cancelled, the program is terminated first.
    """
    try:
        process = await asyncio.create_subprocess_exec(*argv)
    except (FileNotFoundError, NotADirectoryError):
        complain(f"{argv[0]}: command not found", _NOT_FOUND)
        return _NOT_FOUND
    except OSError as error:
        complain(f"{argv[0]}: {error.strerror}", _NOT_EXECUTABLE)
        return _NOT_EXECUTABLE
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            await end_program(process, _GRACE, lambda: complain("the command does not end, so it is killed"))
    return 128 - status if status < 0 else status
