"""The commands of the QEMU Guest Agent that exist on Linux, each declared once.

Argument checks, `guest-info`, policy names and the client's methods are derived from this table. To add a command,
add a row in `declarations`, and a handler to the module of the same name in this package.
"""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.declarations import (
    accounts,
    agent,
    files,
    hardware,
    network,
    processes,
    storage,
    system,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.dialects.qga.schema import GuestCommand

COMMANDS: Final = (
    *agent.COMMANDS,
    *files.COMMANDS,
    *processes.COMMANDS,
    *system.COMMANDS,
    *hardware.COMMANDS,
    *storage.COMMANDS,
    *network.COMMANDS,
    *accounts.COMMANDS,
)
BY_NAME: Final[dict[str, GuestCommand]] = {command.name: command for command in COMMANDS}
