"""How a verb ended on several guests: how many are done, and which are not, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phoenix_ga.cli.errors import explain


@dataclass(frozen=True)
class Outcome:
    """How the verb ended on one guest: its exit status, and a phrase for the summary if it is not done."""

    status: int = 0
    phrase: str = ""


DONE = Outcome()


def ended(status: int) -> Outcome:
    """Return the outcome for a result with this exit status."""
    return Outcome(status, f"ended with {status}") if status else DONE


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome for an error."""
    from phoenix_ga.client import (
        CommandError,
        ConnectError,
        ConnectionLostError,
        EndpointError,
        GuestTimeoutError,
        ProtocolError,
    )

    phrases: tuple[tuple[type[Exception], str], ...] = (
        (EndpointError, "cannot be reached that way"),
        (CommandError, "refused"),
        (GuestTimeoutError, "timed out"),
        (ConnectError, "not connected"),
        (ConnectionLostError, "lost"),
        (ProtocolError, "broke the protocol"),
    )
    status, _ = explain(error)
    if isinstance(error, GuestTimeoutError) and error.garbage:
        return Outcome(status, "sent garbage")
    return Outcome(status, next((phrase for kind, phrase in phrases if isinstance(error, kind)), "failed"))


class Summary:
    """Counts the outcomes. status: the highest exit status so far."""

    def __init__(self, total: int) -> None:
        self.status = 0
        self._total = total
        self._done = 0
        self._others: dict[str, list[str]] = {}

    def add(self, name: str, outcome: Outcome) -> None:
        """Count the outcome of a guest."""
        self.status = max(self.status, outcome.status)
        if outcome.phrase:
            self._others.setdefault(outcome.phrase, []).append(name)
        else:
            self._done += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and the guests by phrase."""
        others = {phrase: sorted(names) for phrase, names in sorted(self._others.items())}
        return {"done": self._done, "total": self._total, "others": others}

    def __str__(self) -> str:
        parts = [f"{self._done} of {self._total} done"]
        parts += [
            f"{len(names)} {phrase}: {', '.join(sorted(names))}" for phrase, names in sorted(self._others.items())
        ]
        left = self._total - self._done - sum(map(len, self._others.values()))
        if left:
            parts.append(f"{left} not contacted")
        return "; ".join(parts)
