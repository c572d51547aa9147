"""What the agent has to hold, as numbers, and whether it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.measures import Measure

PHOENIX: Final = "phoenix"
QEMU: Final = "qemu-ga"
#: Our agent, asked as qemu-ga is.
PHOENIX_AS_QEMU: Final = "phoenix, in qemu-ga's dialect"
#: A program that writes and reads as dd does, from memory and to it.
RAW: Final = "raw port"
#: The same from a file and to one.
RAW_FILE: Final = "raw port and a file"
#: The port with many elements in a system call, which is more than dd can do.
RAW_VECTORS: Final = "raw port, readv/writev"
#: Our streams with the simple client, that speaks frames and does nothing else.
FRAMES: Final = "phoenix, simple client"
UNVERIFIED: Final = "phoenix, unverified"

#: What the agent is busy with while it is pinged. Gets are verified, unless it is said.
IDLE: Final = "idle"
ONE_GET: Final = "one get"
UNVERIFIED_GET: Final = "one get, unverified"
FOUR_GETS: Final = "four gets"
DIGEST: Final = "MD5"
FROZEN: Final = "frozen"


@dataclass(frozen=True)
class Goal:
    """A bound for a measure.

    measure: the key of a Measure. peer: whose figure counts. against: by which peer's figure it is divided;
    empty: the figure itself counts, in the measure's unit. at_least, at_most: one of them is given.
    """

    text: str
    measure: str
    peer: str = PHOENIX
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` keeps within the bound."""
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most

    @property
    def bound(self) -> str:
        """The bound in words, without its unit."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


#: The "numbers to hold" of the design, in its order.
GOALS: Final = (
    Goal("round trip of ping, against guest-ping", "ping", against=QEMU, at_most=0.9),
    Goal("file-read in 48 KiB pieces, against guest-file-read", "read-48", against=QEMU, at_least=3),
    Goal("file-write in 48 KiB pieces, against guest-file-write", "write-48", against=QEMU, at_least=4),
    Goal("guest-file-read in 48 KiB pieces, of both", "read-48", PHOENIX_AS_QEMU, QEMU, at_least=3),
    Goal("guest-file-write in 48 KiB pieces, of both", "write-48", PHOENIX_AS_QEMU, QEMU, at_least=4),
    Goal("copy from the guest, against qemu-ga at its best piece size", "get", against=QEMU, at_least=20),
    Goal("copy to the guest, against qemu-ga at its best piece size", "put", against=QEMU, at_least=15),
    Goal("stream from the guest, against the raw port", "get", FRAMES, RAW, at_least=0.9),
    Goal("stream to the guest, against the raw port", "put", FRAMES, RAW, at_least=0.9),
    Goal("wake-ups when idle, host not connected", "wakeups-closed", at_most=0),
    Goal("wake-ups when idle, host connected", "wakeups-open", at_most=0),
    Goal("resident memory when idle", "rss", at_most=10),
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
    """A goal and what came of it. value: a ratio, or a figure in `unit`; None: it was not measured."""

    goal: Goal
    value: float | None
    unit: str

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: it was not measured."""
        return None if self.value is None else self.goal.holds(self.value)

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def judge(goal: Goal, measures: Mapping[str, Measure]) -> Verdict:
    """Compare a goal with what was measured; `measures` are by key."""
    measure = measures.get(goal.measure)
    if measure is None:
        return Verdict(goal, None, "")
    if goal.against:
        return Verdict(goal, measure.ratio(goal.peer, goal.against), "x")
    return Verdict(goal, measure.median(goal.peer), measure.unit)
