"""The commands of the QEMU Guest Agent that exist on Linux, each declared once.

The argument checks, `guest-info`, the policy's names and docs/qga.md come from this table. Add a
command by adding a row here and its handler in the modules beside this one.
"""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import INTEGER, GuestCommand, Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_AGENT: Final = (
    GuestCommand(
        "guest-sync-delimited",
        "agent:guest_sync",
        "Return the number, after a byte 0xFF: all before it was for others.",
        parameters=(Parameter("id", INTEGER),),
        while_frozen=True,
        inline=True,
    ),
    GuestCommand(
        "guest-sync",
        "agent:guest_sync",
        "Return the number: the answers before it were for others.",
        parameters=(Parameter("id", INTEGER),),
        while_frozen=True,
        inline=True,
    ),
    GuestCommand(
        "guest-ping",
        "agent:guest_ping",
        "Do nothing, but answer.",
        governed_by=("ping",),
        while_frozen=True,
        inline=True,
    ),
    GuestCommand(
        "guest-info",
        "agent:guest_info",
        "List the commands, and whether each would run now.",
        governed_by=("get-commands",),
        while_frozen=True,
        inline=True,
    ),
)

COMMANDS: Final = (*_AGENT,)
BY_NAME: Final[dict[str, GuestCommand]] = {command.name: command for command in COMMANDS}
