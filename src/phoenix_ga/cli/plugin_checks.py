"""Checks as plugins of Nagios, Icinga and checkmk do them: a state, a text, and performance data.

https://www.monitoring-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.output import escape, size

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeStatus, Metrics

OK: Final = 0
WARNING: Final = 1
CRITICAL: Final = 2
UNKNOWN: Final = 3
STATES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

# Mount points of one result.
_MOUNTS_MAX: Final = 100
_TEXT_MAX: Final = 100
_RANGE: Final = re.compile(r"(@)?(?:(~|-?\d+(?:\.\d+)?)?:)?(-?\d+(?:\.\d+)?)?")


@dataclass(frozen=True)
class Range:
    """A range of the plugin guidelines: values outside of it raise an alert; with `@`, values inside.

    Attributes:
        text: as it was given.
    """

    text: str
    low: float
    high: float
    inside: bool

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read `10`, `10:`, `~:10`, `10:20` or `@10:20`. Raises ValueError."""
        match = _RANGE.fullmatch(text.strip())
        if match is None or not text.strip("@ "):
            raise ValueError(f"{text!r} is not a range; examples are 10, 10:, ~:10, 10:20 and @10:20")
        low = float("-inf") if match[2] == "~" else float(match[2] or 0)
        high = float("inf") if match[3] is None else float(match[3])
        if low > high:
            raise ValueError(f"{text!r}: the start of the range is greater than its end")
        return cls(text.strip(), low, high, match[1] is not None)

    def alerts(self, value: float) -> bool:
        """Return whether a value raises an alert."""
        return (self.low <= value <= self.high) == self.inside


@dataclass(frozen=True)
class Limits:
    """When to warn, and when a value is critical. Of several values in a check, the last range holds for the rest."""

    warning: tuple[Range, ...] = ()
    critical: tuple[Range, ...] = ()

    def judge(self, value: float, index: int = 0) -> int:
        """Return the state for a value."""
        if (limit := _at(self.critical, index)) and limit.alerts(value):
            return CRITICAL
        return WARNING if (limit := _at(self.warning, index)) and limit.alerts(value) else OK

    def texts(self, index: int = 0) -> tuple[str, str]:
        """Return the ranges for performance data."""
        found = (_at(self.warning, index), _at(self.critical, index))
        return (found[0].text if found[0] else "", found[1].text if found[1] else "")


@dataclass(frozen=True)
class Figure:
    """A value with its limits. unit: `s`, `%` or empty. low, high: its bounds, as texts."""

    label: str
    value: float
    unit: str = ""
    limits: tuple[str, str] = ("", "")
    low: str = "0"
    high: str = ""

    def perfdata(self) -> str:
        """Return it in the form of the plugin guidelines."""
        label = re.sub(r"['=|]", "_", escape(self.label))
        return f"'{label}'={self.value:.6g}{self.unit};{self.limits[0]};{self.limits[1]};{self.low};{self.high}"

    def metric(self) -> str:
        """Return it in the form of checkmk's local checks, whose metrics have names and no units."""
        name = re.sub(r"\W", "_", self.label, flags=re.ASCII).strip("_") or "root"
        # A range is no number, which is what checkmk takes.
        limits = [text if re.fullmatch(r"\d+(\.\d+)?", text) else "" for text in self.limits]
        return f"{name}={self.value:.6g};{limits[0]};{limits[1]};{self.low};{self.high}"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check."""

    name: str
    state: int
    text: str
    figures: list[Figure] = field(default_factory=list)

    def as_line(self) -> str:
        """Return the line that a plugin prints."""
        data = " ".join(figure.perfdata() for figure in self.figures)
        return f"{self.name.upper()} {STATES[self.state]} - {_plain(self.text)}{' | ' if data else ''}{data}"

    def as_local_check(self) -> str:
        """Return the line of a local check of checkmk."""
        data = "|".join(figure.metric() for figure in self.figures) or "-"
        return f'{self.state} "Phoenix {self.name}" {data} {_plain(self.text)}'


@dataclass(frozen=True)
class Reading:
    """What a guest said. round_trip, offset: of the ping and of the guest's clock, in seconds."""

    version: str
    round_trip: float
    metrics: Metrics | None = None
    status: FreezeStatus | None = None
    offset: float = 0.0


def check_agent(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge the time that the agent takes for an answer."""
    figure = Figure("time", reading.round_trip, "s", limits.texts())
    text = f"agent {reading.version[:_TEXT_MAX]} answered in {reading.round_trip * 1000:.1f} ms"
    return CheckResult("agent", limits.judge(reading.round_trip), text, [figure])


def check_disk(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge how full filesystems are, in percent. mounts: only these mount points."""
    assert reading.metrics is not None
    figures: list[Figure] = []
    states, found = [], []
    for each in reading.metrics.filesystems:
        used = each.size - each.free
        # As df(1): of what users other than root can have.
        whole = used + each.available
        if each.error or whole <= 0 or (mounts and each.mountpoint not in mounts) or len(figures) >= _MOUNTS_MAX:
            continue
        percent = 100 * used / whole
        figures.append(Figure(each.mountpoint[:_TEXT_MAX], percent, "%", limits.texts(), high="100"))
        states.append(limits.judge(percent))
        found.append(
            (percent, f"{each.mountpoint[:_TEXT_MAX]} {percent:.0f}% used, {size(each.available)} available")
        )
    missing = [mount for mount in mounts if mount not in {each.mountpoint for each in reading.metrics.filesystems}]
    if reading.metrics.frozen:
        return CheckResult("disk", UNKNOWN, "filesystems are frozen")
    if missing or not found:
        return CheckResult(
            "disk", UNKNOWN, f"no filesystem is mounted at {missing[0]}" if missing else "no filesystem"
        )
    return CheckResult("disk", max(states), max(found)[1], figures)


def check_load(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge the load averages of 1, 5 and 15 minutes, divided by the number of CPUs."""
    assert reading.metrics is not None
    load, cpus = reading.metrics.load_average, max(len(reading.metrics.cpus), 1)
    values = [each / cpus for each in (load.one_minute, load.five_minutes, load.fifteen_minutes)]
    figures = [
        Figure(f"load{minutes}", value, "", limits.texts(index))
        for index, (minutes, value) in enumerate(zip((1, 5, 15), values))
    ]
    shown = ", ".join(f"{value:.2f}" for value in values)
    state = max(limits.judge(value, index) for index, value in enumerate(values))
    return CheckResult("load", state, f"load for each of {cpus} CPUs: {shown}", figures)


def check_memory(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge the memory that is not available, in percent."""
    assert reading.metrics is not None
    memory = reading.metrics.memory
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    if total <= 0:
        return CheckResult("memory", UNKNOWN, "the guest does not say how much memory it has")
    percent = 100 * (total - available) / total
    text = f"{percent:.0f}% used, {size(available)} of {size(total)} available"
    return CheckResult(
        "memory", limits.judge(percent), text, [Figure("used", percent, "%", limits.texts(), high="100")]
    )


def check_freeze(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge for how long filesystems have been frozen, in seconds."""
    assert reading.metrics is not None
    assert reading.status is not None
    status = reading.status
    seconds = max(reading.metrics.time - status.since / 1000, 0.0) if status.frozen and status.since else 0.0
    figure = Figure("frozen", seconds, "s", limits.texts())
    if not status.frozen:
        return CheckResult("freeze", OK, "filesystems are not frozen", [figure])
    ends = "never thaws automatically" if status.remaining is None else f"thaws in {status.remaining} s"
    return CheckResult("freeze", limits.judge(seconds), f"filesystems frozen for {seconds:.0f} s, {ends}", [figure])


def check_clock(reading: Reading, limits: Limits, mounts: tuple[str, ...]) -> CheckResult:
    """Judge how far the guest's clock is from the host's, in seconds."""
    distance = abs(reading.offset)
    figure = Figure("offset", distance, "s", limits.texts())
    return CheckResult("clock", limits.judge(distance), f"offset {reading.offset:+.3f} s", [figure])


Check = Callable[[Reading, Limits, "tuple[str, ...]"], CheckResult]
#: The checks, and the ranges that they have by default.
CHECKS: Final[dict[str, tuple[Check, str, str]]] = {
    "agent": (check_agent, "", ""),
    "disk": (check_disk, "80", "90"),
    "load": (check_load, "", ""),
    "memory": (check_memory, "80", "90"),
    "freeze": (check_freeze, "300", "900"),
    "clock": (check_clock, "1", "10"),
}


def ranges(text: str) -> tuple[Range, ...]:
    """Read ranges that are separated by commas. Raises ValueError."""
    return tuple(map(Range.parse, text.split(","))) if text else ()


def lines_of_piggyback(host: str, results: list[CheckResult]) -> Iterator[str]:
    """Return the section of a guest in the output of a checkmk agent on this host."""
    yield f"<<<<{re.sub(r'[^A-Za-z0-9._-]', '_', host)}>>>>"
    yield "<<<local:sep(0)>>>"
    yield from (result.as_local_check() for result in results)
    yield "<<<<>>>>"


def _at(found: tuple[Range, ...], index: int) -> Range | None:
    return found[min(index, len(found) - 1)] if found else None


def _plain(text: str) -> str:
    """Escape a text; what follows a | would be taken for performance data."""
    return escape(text).replace("|", "/")
