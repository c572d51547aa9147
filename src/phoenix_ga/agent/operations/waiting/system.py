"""Conditions on load, pressure, units of systemd and the end of the boot."""

from __future__ import annotations

from phoenix_ga.agent.linux.source import PressureTrigger
from phoenix_ga.agent.linux.systemd_bus import (
    END,
    SystemdSignals,
    canonical_name,
    system_state,
    unit_path,
    units_in_state,
)
from phoenix_ga.agent.operations.system import load_average
from phoenix_ga.agent.operations.waiting.condition import Condition, Facts, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# The kernel computes the load average so often.
_LOAD_PERIOD: Final = 5.0
_MILLISECOND: Final = 1000
# Without CAP_SYS_RESOURCE, the window must be a multiple of two seconds.
_STALL: Final = "200/2000"
# Between attempts to connect again, once systemd has executed itself again.
_SYSTEMD_PERIOD: Final = 1.0
_KINDS: Final = ("some", "full")
# The signal before and after systemd reads its files again.
_RELOADING: Final = b"Reloading\0"


class LoadCondition(Condition):
    """The load average of one minute is below a number: `load<NUMBER`."""

    period = _LOAD_PERIOD

    def __init__(self, text: str, value: str) -> None:
        try:
            self._limit = float(value)
        except ValueError:
            self._limit = -1
        # Neither is a number that is none.
        if not self._limit >= 0:
            raise wrong(text, "the load is a number")

    def check(self, facts: Facts) -> str | None:
        load = load_average()[0]
        return f"{load:.2f}" if load < self._limit else None


class PressureCondition(Condition):
    """Tasks stall for want of a resource: `pressure=cpu|io|memory[,some|full][,STALL/WINDOW]`, in milliseconds.

    Attributes:
        trigger: What the kernel reports it by.
        reported: Whether it has.
    """

    def __init__(self, text: str, value: str) -> None:
        resource, *options = value.split(",")
        kind = options.pop(0) if options and options[0] in _KINDS else _KINDS[0]
        stall, _, window = (options.pop(0) if options else _STALL).partition("/")
        if resource not in ("cpu", "io", "memory") or options or not (stall.isdecimal() and window.isdecimal()):
            raise wrong(text, "expected cpu, io or memory, then some or full, then STALL/WINDOW in milliseconds")
        self._shown = f"{resource} {kind} {stall}/{window}"
        try:
            self.trigger = PressureTrigger(resource, kind, int(stall) * _MILLISECOND, int(window) * _MILLISECOND)
        except OSError as error:
            why = "the kernel has no pressure stall information, or not for such a window (try 2000 ms)"
            raise OSError(error.errno, f"condition {text[:100]!r}: {why}") from None
        self.reported = False

    def concerns(self, source: str, items: list[Any]) -> bool:
        self.reported = True
        return True

    def check(self, facts: Facts) -> str | None:
        return self._shown if self.reported else None


class SystemdCondition(Condition):
    """The base class of what systemd tells.

    Attributes:
        marks: What a signal that concerns it contains.
        signals: The connection that the signals come from.
    """

    sources = ("systemd",)
    marks: tuple[bytes, ...] = ()
    signals: SystemdSignals | None = None

    def concerns(self, source: str, items: list[Any]) -> bool:
        return END in items or any(mark in data for mark in self.marks for data in items)

    def check(self, facts: Facts) -> str | None:
        try:
            if self.signals is not None:
                self.signals.reconnect()
            self.period = 0.0
            return self.look(facts)
        except OSError:
            # It does not answer while it executes itself again.
            self.period = _SYSTEMD_PERIOD
            return None

    def look(self, facts: Facts) -> str | None:
        """Return what was found, or None. Raises OSError."""
        raise NotImplementedError


class UnitCondition(SystemdCondition):
    """A unit of systemd is active: `unit=NAME`; a name without a suffix is that of a service."""

    def __init__(self, text: str, value: str) -> None:
        if not value or "/" in value:
            raise wrong(text, "expected the name of a unit, such as nginx or data.mount")
        self._name = value if "." in value else f"{value}.service"
        self._canonical = ""

    def concerns(self, source: str, items: list[Any]) -> bool:
        # The name may become an alias, or one of another unit.
        if any(_RELOADING in data for data in items):
            self._canonical = ""
        return super().concerns(source, items)

    def look(self, facts: Facts) -> str | None:
        canonical = self._canonical
        if not canonical:
            self._canonical = canonical = canonical_name(self._name)
            self.marks = (unit_path(canonical) + b"\0", _RELOADING)
        # This must not load the unit: systemd would signal that, and then that it has forgotten the unit again.
        return self._name if canonical in facts.get(_active_units) else None


class BootCondition(SystemdCondition):
    """systemd has started everything: `boot-complete`. Finds `running`, or `degraded` if a unit failed."""

    marks = (b"StartupFinished",)

    def __init__(self, text: str, value: str) -> None:
        if value:
            raise wrong(text, "it takes no value")

    def look(self, facts: Facts) -> str | None:
        state = facts.get(system_state)
        return state if state in ("running", "degraded") else None


class ShutdownCondition(Condition):
    """Nothing fulfills it: the stream is reset when the agent ends."""

    def __init__(self, text: str, value: str) -> None:
        if value:
            raise wrong(text, "it takes no value")

    def check(self, facts: Facts) -> str | None:
        return None


def _active_units() -> set[str]:
    return units_in_state(b"active")
