"""Commands about the network."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import GuestCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final[tuple[GuestCommand, ...]] = ()
