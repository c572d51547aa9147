"""Compare two checkouts: both agents serve a port of their own in one guest, and take turns in every round."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import frames, pieces
from bench.checkouts import ROOT, Checkout, open_checkout
from bench.guest import DIRECTORIES, GuestFiles, boot_with
from bench.measures import Measure, alternate
from bench.port import PHOENIX_DIALECT, QEMU_DIALECT, Agent, Dialect, PortError, Traffic
from bench.report import markdown_table, number
from bench.round_trips import timer
from bench.settings import KIBI, MEGA, Settings

BASE: Final = "base"
NEW: Final = "new"
#: The groups of the cases, by which a run selects what it compares.
GROUPS: Final = (
    "ping",
    "guest-ping",
    "file-read",
    "file-write",
    "guest-file-read",
    "guest-file-write",
    "get",
    "put",
)

_COPIER = Path(__file__).parent / "copier.py"
_PIECE = 48 * KIBI
# One side may have a fault that the other has not; the comparison should survive it.
_RETRIES = 2
# A verdict is given if equal sides would get it in less than one of ten comparisons.
_CHANCE = 0.1
_LATENCY, _THROUGHPUT = "µs", "MB/s"
_COLUMNS = ("what", "unit", BASE, NEW, "new / base", "smallest", "largest", "verdict")


@dataclass(frozen=True)
class Side:
    """A checkout's agent in the guest, and its client library on the host."""

    checkout: Checkout
    files: GuestFiles
    copier: subprocess.Popen[str]
    #: A file of the host that gets write and puts read.
    local: Path

    @property
    def path(self) -> Path:
        """The host's end of the agent's port."""
        return self.files.machine.socket(self.checkout.port)

    def agent(self, dialect: Dialect = PHOENIX_DIALECT) -> Agent:
        """Connect to the agent with the small client."""
        return Agent(self.path, dialect, Traffic())

    def copy(self, verb: str, remote: str, verify: bool) -> float:
        """Copy the bulk payload with the client library, and return the seconds."""
        assert self.copier.stdin is not None
        assert self.copier.stdout is not None
        job = {"verb": verb, "remote": remote, "local": str(self.local), "verify": verify}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(job), file=self.copier.stdin, flush=True)
        answer = json.loads(self.copier.stdout.readline() or '"it ended"')
        if isinstance(answer, str):
            raise PortError(f"the client library failed to {verb} {remote}: {answer}")
        return float(answer)


@dataclass(frozen=True)
class Case:
    """One thing to compare. group: the name that selects it. run: returns a figure in `unit`."""

    group: str
    title: str
    unit: str
    run: Callable[[Side], float]
    #: How many times as many rounds as of others: short cases need more.
    repeat: int = 1


@dataclass(frozen=True)
class Comparison:
    """What a run measured. versions: of both checkouts, by side."""

    versions: dict[str, str]
    measures: Sequence[Measure]

    def as_json(self) -> dict[str, Any]:
        """Return the figures of all rounds as JSON values."""
        return {"versions": self.versions, "measures": [asdict(measure) for measure in self.measures]}

    def rows(self) -> list[list[str]]:
        """Return a row for each measure, under `_COLUMNS`."""
        return [_row(measure) for measure in self.measures]

    def markdown(self) -> str:
        """Return the comparison as a Markdown table."""
        header = f"base: {self.versions[BASE]}; new: {self.versions[NEW]}"
        return f"{header}\n\n{markdown_table(_COLUMNS, self.rows())}\n"

    def table(self) -> Table:
        """Return the comparison as a table for a terminal."""
        table = Table(*_COLUMNS, title=f"{self.versions[NEW]} against {self.versions[BASE]}")
        for row in self.rows():
            table.add_row(*row, style={"faster": "green", "slower": "bold red"}.get(row[-1]))
        return table


def cases(settings: Settings) -> list[Case]:
    """Return everything that can be compared, in the order of the table."""
    found = [
        Case(group, f"round trip of {group}", _LATENCY, _ping(dialect, settings.pings), settings.ping_rounds)
        for group, dialect in (("ping", PHOENIX_DIALECT), ("guest-ping", QEMU_DIALECT))
    ]
    for dialect in (PHOENIX_DIALECT, QEMU_DIALECT):
        for group, make, repeat in ((dialect.read, _read, 3), (dialect.write, _write, 2)):
            found += [
                Case(group, f"{group}, 48 KiB, {filesystem}", _THROUGHPUT, make(dialect, filesystem), repeat)
                for filesystem in DIRECTORIES
            ]
    for verb, copy, stream in (("get", _get, _stream_get), ("put", _put, _stream_put)):
        for filesystem in DIRECTORIES:
            found += [
                Case(verb, f"{verb}, verified, {filesystem}", _THROUGHPUT, copy(filesystem, True), 2),
                Case(verb, f"{verb}, unverified, {filesystem}", _THROUGHPUT, copy(filesystem, False), 2),
                Case(verb, f"{verb}, unverified, simple client, {filesystem}", _THROUGHPUT, stream(filesystem), 2),
            ]
    return found


def compare(
    base: str, new: str, settings: Settings, groups: Sequence[str], progress: Callable[[str], object]
) -> Comparison:
    """Boot one guest with the agents of two checkouts, and let them take turns.

    Args:
        base: A directory with a checkout, or a git revision.
        new: The same, for the checkout that is judged.
        settings: How much to measure.
        groups: What to measure, of GROUPS.
        progress: Called with a line of text after each step.

    Raises:
        LabError: `base` or `new` is no checkout, its agent cannot be built, or the guest failed.
        PortError: An agent or a client library failed.
    """
    measures = []
    with open_checkout(BASE, base) as before, open_checkout(NEW, new) as after:
        checkouts = (before, after)
        progress(f"{BASE}: {before.version}; {NEW}: {after.version}; booting a guest")
        with _boot(checkouts, settings) as sides:
            for case in cases(settings):
                if case.group not in groups:
                    continue
                begin = time.monotonic()
                peers = {side.checkout.name: _figure(case, side, progress) for side in sides}
                rounds = alternate(settings.rounds * case.repeat, peers)
                measures.append(Measure(case.title, case.title, case.unit, rounds))
                progress(f"{case.title}: {_row(measures[-1])[4]} in {time.monotonic() - begin:.0f} s")
    return Comparison({checkout.name: checkout.version for checkout in checkouts}, measures)


@contextlib.contextmanager
def _boot(checkouts: Sequence[Checkout], settings: Settings) -> Iterator[list[Side]]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sources = {path: source for each in checkouts for path, source in each.build(directory).items()}
        ports = [checkout.port for checkout in checkouts]
        files = stack.enter_context(boot_with(ports, sources, settings.pieces_size, settings.bulk_size, peer=False))
        sides = []
        for checkout in checkouts:
            endpoint = f"unix:{files.machine.socket(checkout.port)}"
            command = [sys.executable, str(_COPIER), str(checkout.root / "src"), endpoint]
            copier = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            stack.enter_context(copier)
            stack.callback(copier.terminate)
            sides.append(Side(checkout, files, copier, directory / f"{checkout.name}.local"))
        yield sides


def _figure(case: Case, side: Side, progress: Callable[[str], object]) -> Callable[[], float]:
    """Return a function that takes a figure. A failure is reported, and the figure is taken again."""

    def run() -> float:
        for _ in range(_RETRIES):
            try:
                return case.run(side)
            except PortError as error:
                progress(f"{case.title}, {side.checkout.name}, measured again: {error}")
        return case.run(side)

    return run


def _ping(dialect: Dialect, count: int) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        with side.agent(dialect) as agent:
            return timer(agent.ping, count)()

    return run


def _read(dialect: Dialect, filesystem: str) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        with side.agent(dialect) as agent:
            return pieces.reader(side.files, agent, filesystem, _PIECE)()

    return run


def _write(dialect: Dialect, filesystem: str) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        with side.agent(dialect) as agent:
            return pieces.writer(side.files, agent, filesystem, _PIECE)()

    return run


def _get(filesystem: str, verify: bool) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        bulk = side.files.bulk
        seconds = side.copy("get", bulk.path(filesystem), verify)
        if side.local.read_bytes() != bulk.data:
            raise PortError("the local copy differs from the file in the guest")
        return len(bulk.data) / seconds / MEGA

    return run


def _put(filesystem: str, verify: bool) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        bulk, target = side.files.bulk, f"{DIRECTORIES[filesystem]}/put"
        if not side.local.exists():
            side.local.write_bytes(bulk.data)
        seconds = side.copy("put", target, verify)
        side.files.check(target, bulk.data)
        return len(bulk.data) / seconds / MEGA

    return run


def _stream_get(filesystem: str) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        with side.agent() as agent:
            return frames.timed_get(agent, side.files.bulk, filesystem)

    return run


def _stream_put(filesystem: str) -> Callable[[Side], float]:
    def run(side: Side) -> float:
        with side.agent() as agent:
            return frames.timed_put(agent, side.files, filesystem)

    return run


def chance(ratios: Sequence[float]) -> float:
    """Return how likely it is that equal sides give ratios that are at least as one-sided (a sign test)."""
    above = sum(ratio > 1 for ratio in ratios)
    fewer = min(above, len(ratios) - above)
    outcomes = sum(math.comb(len(ratios), count) for count in range(fewer + 1))
    return float(min(1.0, 2 * outcomes / 2 ** len(ratios)))


def _row(measure: Measure) -> list[str]:
    base, new = measure.rounds[BASE], measure.rounds[NEW]
    ratios = [figure / other for figure, other in zip(new, base, strict=True)]
    verdict = "same"
    if chance(ratios) <= _CHANCE:
        verdict = "faster" if (statistics.median(ratios) > 1) == (measure.unit == _THROUGHPUT) else "slower"
    figures = (statistics.median(base), statistics.median(new))
    spread = (statistics.median(ratios), min(ratios), max(ratios))
    return [measure.title, measure.unit, *map(number, figures), *(f"{ratio:.2f}" for ratio in spread), verdict]
