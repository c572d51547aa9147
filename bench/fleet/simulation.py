"""A simulated fleet that is scraped for a while."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.fleet.mock_guests import HONEST, HOSTILE, HUNG
from bench.fleet.processes import exporter, hub, mock_guests, usage
from bench.fleet.scraper import Scrape, Scraper
from bench.measures import percentile


@dataclass(frozen=True)
class Fleet:
    """What is simulated.

    Attributes:
        guests: Number of honest guests.
        hung: Number of guests that never answer.
        hostile: Number of guests that send whatever does harm.
        interval: Time between the scrapes of a guest, in seconds.
        rounds: Number of scrapes of each guest.
        timeout: Of a scrape, in seconds; the default is that of Prometheus.
        through_hub: Whether a hub is between exporter and guests.
    """

    guests: int
    hung: int = 0
    hostile: int = 0
    interval: float = 15.0
    rounds: int = 4
    timeout: float = 10.0
    through_hub: bool = False


@dataclass(frozen=True)
class Load:
    """What a process took while the fleet was scraped. cpu: share of one processor. memory: resident, in bytes."""

    cpu: float
    memory: int


@dataclass(frozen=True)
class Figures:
    """What was measured. kinds: the kind of each guest, by its name. loads: by the name of the process."""

    fleet: Fleet
    kinds: dict[str, str]
    scrapes: Sequence[Scrape]
    seconds: float
    loads: dict[str, Load] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Scrape]:
        """Return the scrapes of guests of these kinds."""
        return [each for each in self.scrapes if self.kinds[each.target] in kinds]

    def rows(self) -> list[tuple[str, str]]:
        """Return what to print: names and figures."""
        honest, others = self.of(HONEST), self.of(HUNG, *HOSTILE)
        times = [each.seconds for each in honest]
        rows = [
            ("guests", f"{self.fleet.guests} honest, {self.fleet.hung} hung, {self.fleet.hostile} hostile"),
            (
                "probes",
                f"{len(self.scrapes)} in {self.seconds:.0f} s, {len(self.scrapes) / self.seconds:.1f} a second",
            ),
            ("page of an honest guest", f"{honest[0].size / 1000:.0f} kB"),
            ("failed probes of honest guests", str(sum(each.status != 200 for each in honest))),
            ("failed probes of the others", f"{sum(each.status != 200 for each in others)} of {len(others)}"),
            (
                "probe of an honest guest: p50, p99, most",
                ", ".join(f"{1000 * percentile(times, share):.0f} ms" for share in (0.5, 0.99, 1)),
            ),
            ("begun late by the scraper: p99", f"{1000 * percentile([each.late for each in honest], 0.99):.0f} ms"),
        ]
        for name, load in self.loads.items():
            rows.append((name, f"{100 * load.cpu:.0f} % of one CPU, {load.memory / 1e6:.0f} MB"))
        return rows


def simulate(fleet: Fleet) -> Figures:
    """Scrape a fleet, and return what was measured."""
    kinds = {f"guest{number}": HONEST for number in range(fleet.guests)}
    kinds |= {f"hung{number}": HUNG for number in range(fleet.hung)}
    kinds |= {f"hostile{number}": HOSTILE[number % len(HOSTILE)] for number in range(fleet.hostile)}
    # The others are spread among the honest.
    targets = sorted(kinds, key=lambda name: name[::-1])
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phoenix-fleet-")))
        stack.enter_context(mock_guests(directory, kinds))
        processes = {"hub": stack.enter_context(hub(directory))} if fleet.through_hub else {}
        processes["exporter"], port = stack.enter_context(exporter(directory))
        # The first round connects, loads and fills caches.
        asyncio.run(Scraper(port, fleet.interval, fleet.timeout).run(targets, 1))
        before = {name: usage(pid) for name, pid in processes.items()}
        begin = time.monotonic()
        scrapes = asyncio.run(Scraper(port, fleet.interval, fleet.timeout).run(targets, fleet.rounds))
        seconds = time.monotonic() - begin
        loads = {}
        for name, pid in processes.items():
            now = usage(pid)
            loads[name] = Load((now.cpu - before[name].cpu) / seconds, now.memory)
    return Figures(fleet, kinds, scrapes, seconds, loads)
