"""Measure everything: `make bench`, or `python -m bench --help`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench.bulk import measure_bulk
from bench.environment import describe
from bench.footprint import measure_idle, measure_memory, usages
from bench.guest import BenchGuest, boot
from bench.load import measure_load
from bench.measures import Measure
from bench.pieces import measure_pieces
from bench.plot import plot
from bench.port import PortError
from bench.report import Report, goal_table, markdown, measure_table, missed
from bench.round_trips import measure_commands, measure_pings
from bench.settings import QUICK, Settings
from bench.start import measure_start
from lab.errors import LabError
from phoenix_ga.client import PhoenixError

_ROOT = Path(__file__).parent.parent
_OUTPUT = _ROOT / "build" / "bench"
_DOCS = _ROOT / "docs"

#: In their order; what is measured later knows of what was measured before.
SECTIONS: dict[str, Callable[[BenchGuest, Settings, list[Measure]], list[Measure]]] = {
    "pings": lambda guest, settings, _: measure_pings(guest, settings),
    "pieces": lambda guest, settings, _: measure_pieces(guest, settings),
    "bulk": measure_bulk,
    "commands": lambda guest, settings, _: measure_commands(guest, settings),
    "load": lambda guest, settings, _: measure_load(guest, settings),
    "idle": lambda guest, settings, _: measure_idle(guest, settings),
    "start": lambda _, settings, __: measure_start(settings),
}


def main() -> int:
    options = _parser().parse_args()
    settings = QUICK if options.quick else Settings()
    given = {"rounds": options.rounds, "idle_seconds": options.idle_seconds}
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})
    # As an exception it takes the guest down on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The tables need some room, wherever they are read.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        report = measure(settings, options.only or list(SECTIONS), console)
        console.print(measure_table(report.measures), goal_table(report.verdicts), missed(report.verdicts))
        write(report, options.output)
        console.print(f"written to {options.output}", soft_wrap=True)
        if options.docs:
            write_docs(report)
    except (LabError, PortError, PhoenixError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(settings: Settings, sections: list[str], console: Console) -> Report:
    """Boot a guest and measure the sections in it; memory is measured in any case."""
    measures: list[Measure] = []
    console.print("booting a guest")
    with boot(settings.pieces_size, settings.bulk_size) as guest:
        environment = describe(guest, settings)
        stages = {"": usages(guest)}
        for name, section in SECTIONS.items():
            if name in sections:
                begin = time.monotonic()
                measures += section(guest, settings, measures)
                stages[name] = usages(guest)
                console.print(f"measured {name} in {time.monotonic() - begin:.0f} s")
        measures += measure_memory(guest, stages)
    return Report(environment, measures)


def write(report: Report, directory: Path) -> None:
    """Write the report as JSON, Markdown and a picture."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    _write_page(report, directory)


def write_docs(report: Report) -> None:
    """Write the page among the documentation."""
    _write_page(report, _DOCS)


def _write_page(report: Report, directory: Path) -> None:
    (directory / "benchmarks.md").write_text(markdown(report, "benchmarks.png"))
    plot(report.measures, directory / "benchmarks.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the agent beside Debian's qemu-guest-agent and the bare port, in one guest.",
    )
    parser.add_argument("--quick", action="store_true", help="roughly: for whoever works on this program")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often to measure everything (default: 5)")
    parser.add_argument(
        "--idle-seconds", type=float, metavar="S", help="how long to watch idle agents, twice (default: 60)"
    )
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="DIRECTORY", help="default: build/bench")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md and its picture as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
