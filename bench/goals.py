"""The goals for the agent, as numbers, and whether a run met them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.measures import Measure

PHOENIX: Final = "phoenix"
#: Phoenix after some time without requests.
PARKED: Final = "phoenix, parked"
QEMU: Final = "qemu-ga"
#: Phoenix, speaking the dialect of qemu-ga.
PHOENIX_AS_QEMU: Final = "phoenix, in qemu-ga's dialect"
#: raw_port.py, which writes and reads the port from and to memory.
RAW: Final = "raw port"
#: The same from and to a file, as dd does.
RAW_FILE: Final = "raw port and a file"
#: The same from and to memory, with many elements in a system call, which dd cannot do.
RAW_VECTORS: Final = "raw port, readv/writev"
#: raw_port.py, which sends and receives a file in the frames of Phoenix, without an agent around it.
LEANEST: Final = "leanest loop"
#: Unverified streams of Phoenix, by a client that only handles frames.
FRAMES: Final = "phoenix, simple client"
UNVERIFIED: Final = "phoenix, unverified"
#: The programs of the guest, run by `phoenixctl exec`.
THROUGH_EXEC: Final = "tar or ls, through exec"

#: Files of two sizes, see Settings.
LARGEST: Final = "largest file"
PART_OF_LARGEST: Final = "a sixteenth of it"

#: An interpreter that does nothing.
PYTHON: Final = "python3 -c pass"

#: What the agent is busy with while it answers pings. Gets are verified unless their name says otherwise.
IDLE: Final = "idle"
ONE_GET: Final = "one get"
UNVERIFIED_GET: Final = "one get, unverified"
FOUR_GETS: Final = "four gets"
DIGEST: Final = "MD5"
FROZEN: Final = "frozen"


@dataclass(frozen=True)
class Goal:
    """A bound for a measure; exactly one of `at_least` and `at_most` is given.

    Attributes:
        text: What the goal is, for a reader.
        measure: The key of the Measure.
        peer: The peer whose figure counts.
        against: The peer whose figure it is divided by; empty: the figure itself counts, in the measure's unit.
        at_least: The smallest value that meets the goal.
        at_most: The largest value that meets the goal.
    """

    text: str
    measure: str
    peer: str = PHOENIX
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether `value` is within the bound."""
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most

    @property
    def bound(self) -> str:
        """The bound as text, without its unit."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


GOALS: Final = (
    Goal("round trip of ping, against guest-ping", "ping", against=QEMU, at_most=0.8),
    Goal("run true by the library, against guest-exec and guest-exec-status", "exec", against=QEMU, at_most=0.9),
    Goal("guest-file-read in 48 KiB pieces, ext4, of both", "read-48-ext4", PHOENIX_AS_QEMU, QEMU, at_least=3.2),
    Goal("guest-file-write in 48 KiB pieces, ext4, of both", "write-48-ext4", PHOENIX_AS_QEMU, QEMU, at_least=5),
    Goal("guest-file-read in 48 KiB pieces, tmpfs, of both", "read-48-tmpfs", PHOENIX_AS_QEMU, QEMU, at_least=3.2),
    Goal("guest-file-write in 48 KiB pieces, tmpfs, of both", "write-48-tmpfs", PHOENIX_AS_QEMU, QEMU, at_least=5),
    *(
        Goal(f"{text} {end} {filesystem}, {other}", f"{verb}-{filesystem}", peer, against, at_least)
        for filesystem in ("ext4", "tmpfs")
        for text, other, peer, against, bounds in (
            ("stream", "against the leanest loop", FRAMES, LEANEST, (0.9, 0.9)),
            ("verified copy", "against an unverified one", PHOENIX, UNVERIFIED, (0.85, 0.85)),
            ("verified copy", "against qemu-ga in its fastest pieces", PHOENIX, QEMU, (9, 20)),
        )
        for verb, end, at_least in zip(("get", "put"), ("from", "to"), bounds)
    ),
    Goal(
        "time for each byte of the largest file, against a sixteenth of it",
        "size-growth",
        LARGEST,
        PART_OF_LARGEST,
        at_most=1.25,
    ),
    Goal(
        "directory of small files from ext4, against tar through exec",
        "tree-get-ext4",
        against=THROUGH_EXEC,
        at_most=1.2,
    ),
    Goal(
        "directory of small files to ext4, against tar through exec",
        "tree-put-ext4",
        against=THROUGH_EXEC,
        at_most=1.2,
    ),
    Goal("listing of a large directory, against ls -l through exec", "listing", against=THROUGH_EXEC, at_most=1.5),
    Goal("memory of phoenixctl that lists a large directory", "listing-memory", at_most=60),
    Goal("phoenixctl ping -c 1, against python3 -c pass", "phoenixctl", against=PYTHON, at_most=5),
    Goal("wake-ups when idle, host not connected", "wakeups-closed", at_most=0),
    Goal("wake-ups when idle, host connected", "wakeups-open", at_most=0),
    Goal("resident memory when idle", "rss", at_most=9.3),
    Goal("resident memory when parked", "parked-rss", PARKED, at_most=0.1),
    Goal("wake-ups when parked, host not connected", "parked-wakeups-closed", PARKED, at_most=0),
    Goal("wake-ups when parked, host connected", "parked-wakeups-open", PARKED, at_most=0),
    Goal("growth of resident memory over the run", "rss-growth", at_most=2),
    Goal("start to first answer, on this machine", "start", at_most=100),
    Goal("p99 of ping during a get, against idle", "ping-p99-simple", ONE_GET, IDLE, at_most=3),
    Goal("p99 of ping during four gets, against idle", "ping-p99-simple", FOUR_GETS, IDLE, at_most=3),
    Goal("p99 of ping during an MD5, against idle", "ping-p99-simple", DIGEST, IDLE, at_most=3),
    Goal("p99 of ping while frozen, against idle", "ping-p99-simple", FROZEN, IDLE, at_most=3),
    Goal("p99 of ping by the library during a get, against idle", "ping-p99", ONE_GET, IDLE, at_most=3),
    Goal("p99 of ping by the library during four gets, against idle", "ping-p99", FOUR_GETS, IDLE, at_most=3),
)


@dataclass(frozen=True)
class Verdict:
    """What a run says of a goal.

    Attributes:
        text: What the goal is, for a reader.
        bound: The bound as text, with its unit.
        value: A ratio, or a figure in `unit`; None: not measured.
        unit: "x" for a ratio.
        met: Whether the value is within the bound; None: not measured.
    """

    text: str
    bound: str
    value: float | None
    unit: str
    met: bool | None

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def judge(goal: Goal, measures: Mapping[str, Measure]) -> Verdict:
    """Compare a goal with the measures of a run, which are given by key."""
    unit = "x" if goal.against else ""
    measure = measures.get(goal.measure)
    if measure is None:
        return Verdict(goal.text, f"{goal.bound} {unit}".rstrip(), None, unit, None)
    unit = unit or measure.unit
    value = measure.ratio(goal.peer, goal.against) if goal.against else measure.median(goal.peer)
    return Verdict(goal.text, f"{goal.bound} {unit}", value, unit, goal.holds(value))
