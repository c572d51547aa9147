"""Commands about the agent itself."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.commands import COMMANDS
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import JsonText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def guest_ping(context: Context) -> None:
    """Do nothing."""


def guest_sync(context: Context, id: int) -> int:
    return id


class Delimited(JsonText):
    """An answer that is preceded by the byte 0xFF."""

    __slots__ = ()


def guest_sync_delimited(context: Context, id: int) -> Delimited:
    return Delimited(encode_json(id))


def guest_info(context: Context) -> dict[str, Any]:
    """List the commands, whether they are enabled, and whether they answer on success."""
    frozen = context.frozen
    return {
        "version": context.config.qga_version,
        "supported_commands": [
            {
                "name": command.name,
                "enabled": context.policy.permits(command) and (command.while_frozen or not frozen),
                "success-response": command.answers,
            }
            for command in COMMANDS
        ],
    }
