"""What became of a verb on several guests: how many are done, and which are not, and why."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ga.cli.errors import explain


@dataclass(frozen=True)
class Outcome:
    """What became of one guest. status: as phoenixctl would end with. what: in words, empty where it is done."""

    status: int = 0
    what: str = ""


DONE = Outcome()


def ended(status: int) -> Outcome:
    """Return what became of a guest whose result stands for `status`."""
    return Outcome(status, f"ended with {status}") if status else DONE


def outcome_of(error: Exception) -> Outcome:
    """Return what became of a guest that met `error`."""
    from phoenix_ga.client import (
        ConnectFailed,
        EndpointError,
        GuestRefused,
        GuestTimeout,
        LinkLost,
        ProtocolViolation,
    )

    kinds: tuple[tuple[type[Exception], str], ...] = (
        (EndpointError, "cannot be reached that way"),
        (GuestRefused, "refused"),
        (GuestTimeout, "timed out"),
        (ConnectFailed, "not connected"),
        (LinkLost, "lost"),
        (ProtocolViolation, "broke the protocol"),
    )
    status, _ = explain(error)
    if isinstance(error, GuestTimeout) and error.garbage:
        return Outcome(status, "sent garbage")
    return Outcome(status, next((what for kind, what in kinds if isinstance(error, kind)), "failed"))


class Summary:
    """Counts what became of guests. total: how many there are. status: the highest so far."""

    def __init__(self, total: int) -> None:
        self.status = 0
        self._total = total
        self._done = 0
        self._others: dict[str, list[str]] = {}

    def add(self, name: str, outcome: Outcome) -> None:
        """Count a guest."""
        self.status = max(self.status, outcome.status)
        if outcome.what:
            self._others.setdefault(outcome.what, []).append(name)
        else:
            self._done += 1

    def __str__(self) -> str:
        parts = [f"{self._done} of {self._total} done"]
        parts += [f"{len(names)} {what}: {', '.join(sorted(names))}" for what, names in sorted(self._others.items())]
        left = self._total - self._done - sum(map(len, self._others.values()))
        if left:
            parts.append(f"{left} not asked")
        return "; ".join(parts)
