"""What the hub knows of the commands of both dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from phoenix_ga.hub.generated import guest_commands
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.declaration import Command

_COMMANDS: Final[dict[str, Command]] = {**BY_NAME, **{command.name: command for command in guest_commands.COMMANDS}}

#: The hub answers these itself: they concern the client's session.
LOCAL: Final = frozenset(("sync", "get-session", "guest-sync", "guest-sync-delimited"))

#: Arguments that are too long or too secret for a log.
HIDDEN: Final = guest_commands.HIDDEN | {"bufb64", "keys", "env"}


def find_command(name: str) -> Command | None:
    """Return the declaration of a command, or None if this version does not know it."""
    return _COMMANDS.get(name)


def command_names() -> tuple[str, ...]:
    """Return the names of all known commands, sorted."""
    return tuple(sorted(_COMMANDS))


def is_answered(name: str) -> bool:
    """Return whether success of the command is answered."""
    return name not in guest_commands.SILENT


def changes_guest(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a request changes the guest; true for an unknown command."""
    command = find_command(name)
    if command is None:
        return True
    if isinstance(command.changes, tuple):
        argument, values = command.changes
        return arguments.get(argument) in (values if isinstance(values, tuple) else (values,))
    return command.changes
