"""The commands of the Phoenix dialect, each declared once.

Argument checks, `get-commands`, policy names, the client's methods, docs/commands.md and shell completion are
derived from this table. To add a command, add a row to the module of its domain, and its operation to
`phoenix_ga.agent.operations` or its handler to `phoenix_ga.agent.dialects.native`.
"""

from __future__ import annotations

from phoenix_ga.wire.commands.agent import COMMANDS as AGENT
from phoenix_ga.wire.commands.files import COMMANDS as FILES
from phoenix_ga.wire.commands.files import READ_COUNT_DEFAULT
from phoenix_ga.wire.commands.filesystems import COMMANDS as FILESYSTEMS
from phoenix_ga.wire.commands.network import AF_INET, AF_INET6, AF_UNSPEC
from phoenix_ga.wire.commands.network import COMMANDS as NETWORK
from phoenix_ga.wire.commands.processes import COMMANDS as PROCESSES
from phoenix_ga.wire.commands.shared import WINDOW_DEFAULT, WINDOW_MAX
from phoenix_ga.wire.commands.sockets import COMMANDS as SOCKETS
from phoenix_ga.wire.commands.system import COMMANDS as SYSTEM
from phoenix_ga.wire.commands.transfers import COMMANDS as TRANSFERS
from phoenix_ga.wire.commands.waiting import COMMANDS as WAITING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.wire.declaration import Command

__all__ = (
    "AF_INET",
    "AF_INET6",
    "AF_UNSPEC",
    "BY_NAME",
    "COMMANDS",
    "READ_COUNT_DEFAULT",
    "WINDOW_DEFAULT",
    "WINDOW_MAX",
)

# The order of docs/commands.md, and the order in which the tests run the examples.
COMMANDS: Final[tuple[Command, ...]] = (
    *AGENT,
    *SYSTEM,
    *FILES,
    *TRANSFERS,
    *PROCESSES,
    *SOCKETS,
    *FILESYSTEMS,
    *NETWORK,
    *WAITING,
)

BY_NAME: Final[dict[str, Command]] = {
    name: command for command in COMMANDS for name in (command.name, *command.aliases)
}
