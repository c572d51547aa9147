"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEGA: Final = 1_000_000
KIBI: Final = 1024
MEBI: Final = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """rounds: how often everything is measured. ping_rounds: as often for each, for pings take no time. pings,
    commands: in a round, for each peer. loaded_pings: in a round, for each load. starts: for each round. pieces_size: of the file that is copied piece by piece; bulk_size: of the one that is
    streamed; both in bytes. idle_seconds: how long idle agents are watched, each time."""

    rounds: int = 5
    ping_rounds: int = 4
    pings: int = 100
    loaded_pings: int = 200
    commands: int = 20
    starts: int = 5
    pieces_size: int = 4 * MEBI
    bulk_size: int = 16 * MEBI
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
