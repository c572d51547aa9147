"""Commands about programs."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import (
    BOOLEAN,
    INTEGER,
    STRING,
    Choice,
    Either,
    GuestCommand,
    ListOf,
    Parameter,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_CAPTURE: Final = Either(
    "GuestExecCaptureOutput",
    {bool: BOOLEAN, str: Choice("none", "stdout", "stderr", "separated", "merged")},
)

COMMANDS: Final = (
    GuestCommand(
        "guest-exec-status",
        "processes:guest_exec_status",
        "Return whether a program has ended, its exit status and its complete output.",
        parameters=(Parameter("pid", INTEGER),),
        governed_by=("exec",),
        inline=True,
        full_access=True,
    ),
    GuestCommand(
        "guest-exec",
        "processes:guest_exec",
        "Start a program, and return its process ID.",
        parameters=(
            Parameter("path", STRING),
            Parameter("arg", ListOf(STRING), optional=True),
            Parameter("env", ListOf(STRING), optional=True),
            Parameter("input-data", STRING, optional=True),
            Parameter("capture-output", _CAPTURE, optional=True),
        ),
        governed_by=("exec",),
        changes=True,
        full_access=True,
    ),
)
