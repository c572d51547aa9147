"""The command that waits for conditions."""

from __future__ import annotations

from errno import EINVAL

from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.wire.commands.waiting import CONDITIONS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def wait_for(context: Context, conditions: list[str], any: bool, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.wait import WaitEndpoint
    from phoenix_ga.agent.operations.waiting.waiting import Waiting

    if not 0 < len(conditions) <= CONDITIONS_MAX:
        raise OSError(EINVAL, f"give from 1 to {CONDITIONS_MAX} conditions")
    return Opened({}, {"stream": WaitEndpoint(Waiting(conditions), any)}, window)
