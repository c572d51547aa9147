"""Starting the helper processes of commands."""

from __future__ import annotations

import os

from phoenix_ga.agent.endpoints.process import Process
from phoenix_ga.agent.endpoints.process_table import process_table
from phoenix_ga.agent.helpers.command_line import command_line
from phoenix_ga.agent.operations.processes import spawn
from phoenix_ga.agent.operations.program_groups import program_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def start_helper(context: Context, module: str, *words: str) -> Process:
    """Start the helper process that a module contains. words: its arguments. Raises OSError."""
    with program_groups(context).open(kept=False) as group:
        child = spawn(command_line(module, *words), {}, directory=os.getcwd(), group=group.procs)
    return Process(process_table(context), child, group)
