"""The conditions of `wait`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from phoenix_ga.wire.commands.waiting import CONDITIONS

AGENT: Final = "agent"
SHUTDOWN: Final = "shutdown"
EXEC: Final = "exec="
# What follows the word of each condition that needs a value.
_AFTER: Final = {"load": "<", "path": "=", "port": "=", "pressure": "=", "unit": "="}
WORDS: Final = sorted((AGENT, EXEC, *(f"{name}{_AFTER.get(name, '')}" for name in CONDITIONS)))


def check(conditions: Sequence[str]) -> None:
    """Raise click.UsageError if a condition is none. The agent checks what follows its first word."""
    for condition in conditions:
        if condition == AGENT or (condition.startswith(EXEC) and condition != EXEC):
            continue
        name = condition.partition("=")[0].partition(",")[0].partition("<")[0]
        if name not in CONDITIONS or not condition.startswith(name + _AFTER.get(name, "")):
            raise click.UsageError(f"Unknown condition {condition!r}: expected one of {' '.join(WORDS)}.")
