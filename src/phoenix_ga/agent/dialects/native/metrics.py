"""The command that returns the kernel's counters."""

from __future__ import annotations

from phoenix_ga.agent.operations.metrics import read_metrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def metrics(context: Context) -> dict[str, Any]:
    return read_metrics(context.frozen)
