"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEGA: Final = 1_000_000
KIBI: Final = 1024
MEBI: Final = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """The amounts of a full run; a round has each peer once."""

    #: How often everything is measured.
    rounds: int = 5
    #: Pings take no time: so many more rounds for each.
    ping_rounds: int = 4
    #: In a round, for each peer.
    pings: int = 100
    #: In a round, for each thing that the agent is busy with.
    loaded_pings: int = 1000
    #: Programs that are run in a round, by each peer.
    commands: int = 20
    #: Starts of the agent for each round.
    starts: int = 5
    #: Of the file that is copied piece by piece, in bytes.
    pieces_size: int = 4 * MEBI
    #: Of the file that is streamed, in bytes.
    bulk_size: int = 16 * MEBI
    #: How long idle agents are watched, once for each state of the port.
    idle_seconds: float = 60


QUICK: Final = Settings(
    rounds=2,
    ping_rounds=2,
    pings=50,
    loaded_pings=50,
    commands=5,
    starts=2,
    pieces_size=MEBI,
    bulk_size=4 * MEBI,
    idle_seconds=5,
)
