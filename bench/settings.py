"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEGA: Final = 1_000_000
KIBI: Final = 1024
MEBI: Final = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """The amounts of a full run. A round measures each peer once."""

    #: Number of rounds.
    rounds: int = 5
    #: Factor for the rounds of pings, which are short.
    ping_rounds: int = 4
    #: Pings in a round, for each peer.
    pings: int = 100
    #: Pings in a round, for each load.
    loaded_pings: int = 1000
    #: Programs run in a round, for each peer.
    commands: int = 20
    #: Starts of the agent in a round.
    starts: int = 5
    #: Number of times that the parked agent is woken.
    wakings: int = 10
    #: Size of the file that is copied piece by piece, in bytes.
    pieces_size: int = 4 * MEBI
    #: Size of the file that is copied by streams, in bytes.
    bulk_size: int = 16 * MEBI
    #: Size of the largest file of those that show how the time grows, in bytes.
    largest_size: int = 1024 * MEBI
    #: Small files in the directory that is copied.
    tree_files: int = 5000
    #: Entries of the directory that is listed.
    listed_files: int = 100_000
    #: Time to watch the idle agents, in seconds, for each state of the port.
    idle_seconds: float = 60


QUICK: Final = Settings(
    rounds=2,
    ping_rounds=2,
    pings=50,
    loaded_pings=50,
    commands=5,
    starts=2,
    wakings=3,
    pieces_size=MEBI,
    bulk_size=4 * MEBI,
    largest_size=64 * MEBI,
    tree_files=500,
    listed_files=5000,
    idle_seconds=5,
)
