"""Commands about the agent itself."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import INTEGER, GuestCommand, Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final = (
    GuestCommand(
        "guest-sync-delimited",
        "agent:guest_sync_delimited",
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
