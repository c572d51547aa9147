"""What a hub tells of its guests and their clients, as text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from phoenix_ga.cli.output import duration, size, titled_table

_NAMED_MAX: Final = 2
_EMPTY: Final = "no guests, or none that you may use"


def clients_table(guests: Sequence[Mapping[str, Any]], rates: Rates | None = None) -> str:
    """Return a table of the guests and their clients, with numbers of bytes or, with `rates`, bytes in a second."""
    unit = "" if rates is None else "/s"
    rows = [("guest", "port", "user", "program", "since", "streams", f"received{unit}", f"sent{unit}")]
    for guest in guests:
        first = (guest["name"], guest["state"])
        for client in guest["clients"] or [None]:
            rows.append((*first, *_row(client, rates)))
            first = ("", "")
    return titled_table(rows[0], rows[1:], _EMPTY)


def _row(client: Mapping[str, Any] | None, rates: Rates | None) -> tuple[str, ...]:
    if client is None:
        return ("-",) * 6
    counts = [client[name] for name in Rates.COUNTS] if rates is None else rates.of(client)
    sizes = [size(count) + ("" if rates is None else "/s") for count in counts]
    return (client["user"], _program(client), _since(client), str(client["streams"]), *sizes)


def clients_text(clients: Sequence[Mapping[str, Any]]) -> str:
    """Return who the clients are, and since when: the first ones, and the number of the others."""
    named = [f"{client['user']} {_program(client)} {_since(client)}" for client in clients[:_NAMED_MAX]]
    rest = len(clients) - len(named)
    return ", ".join([*named, *([f"{rest} more"] if rest else [])]) or "-"


def event_text(event: Mapping[str, Any]) -> str:
    """Return a line about an event."""
    words = [time.strftime("%H:%M:%S"), event["event"], event.get("guest", ""), event.get("state", "")]
    if client := event.get("client"):
        words += [client["user"], _program(client)]
    return " ".join(word for word in words if word)


class Rates:
    """How much each client has sent and received in a second, from one answer of the hub to the next."""

    COUNTS: Final = ("received", "sent")

    def __init__(self) -> None:
        self._before: dict[tuple[Any, ...], Sequence[int]] = {}
        self._now: dict[tuple[Any, ...], Sequence[int]] = {}
        self._seconds = 1.0

    def update(self, guests: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """Take the next answer, `seconds` after the last one."""
        self._before, self._now, self._seconds = self._now, {}, seconds
        for guest in guests:
            for client in guest["clients"]:
                self._now[_identity(client)] = [client[name] for name in self.COUNTS]

    def of(self, client: Mapping[str, Any]) -> list[float]:
        """Return the rates of a client; 0 for one that is new."""
        now = self._now[_identity(client)]
        before = self._before.get(_identity(client), now)
        return [(count - earlier) / self._seconds for count, earlier in zip(now, before)]


def _identity(client: Mapping[str, Any]) -> tuple[Any, ...]:
    return client["pid"], client["since"]


def _program(client: Mapping[str, Any]) -> str:
    return f"{client['program']}({client['pid']})"


def _since(client: Mapping[str, Any]) -> str:
    return duration(max(0, int(time.time() - client["since"])))
