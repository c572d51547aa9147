"""The benchmarks' command line: `make bench`, `make bench-compare`, `python -m bench --help`."""

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
from bench.checkouts import ROOT
from bench.compare import GROUPS, compare
from bench.environment import describe
from bench.footprint import measure_idle, measure_memory, measure_parked, usages
from bench.guest import BenchGuest, boot
from bench.load import measure_load
from bench.measures import Measure
from bench.pieces import measure_pieces
from bench.plot import plot
from bench.port import PortError
from bench.report import Report, figure_table, goal_table, markdown, missed
from bench.round_trips import measure_commands, measure_pings
from bench.settings import QUICK, Settings
from bench.sizes import measure_sizes
from bench.start import measure_phoenixctl, measure_start
from bench.trees import measure_listings, measure_trees
from lab.errors import LabError
from phoenix_ga.client import PhoenixError

_OUTPUT = ROOT / "build" / "bench"
DOCS = ROOT / "docs"
#: The text of the page, with placeholders for the figures.
TEMPLATE = DOCS / "benchmarks.md.in"

#: In the order in which they run. Each gets the measures of those before it.
SECTIONS: dict[str, Callable[[BenchGuest, Settings, list[Measure]], list[Measure]]] = {
    "pings": lambda guest, settings, _: measure_pings(guest, settings),
    "pieces": lambda guest, settings, _: measure_pieces(guest, settings),
    "bulk": measure_bulk,
    "sizes": lambda guest, settings, _: measure_sizes(guest, settings),
    "trees": lambda guest, settings, _: measure_trees(guest, settings),
    "listings": lambda guest, settings, _: measure_listings(guest, settings),
    "commands": lambda guest, settings, _: measure_commands(guest, settings),
    "load": lambda guest, settings, _: measure_load(guest, settings),
    "idle": lambda guest, settings, _: measure_idle(guest, settings),
    "phoenixctl": lambda guest, settings, _: measure_phoenixctl(guest, settings),
    "start": lambda _, settings, __: measure_start(settings),
}

#: The last section: it replaces the process whose memory the others are about.
PARKED_SECTION = "parked"


def main() -> int:
    options = _parser().parse_args()
    # As an exception, it destroys the guest on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The tables need this width, also in a pipe.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        options.action(options, console)
    except (LabError, PortError, PhoenixError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    report = measure(_settings(options), options.only or [*SECTIONS, PARKED_SECTION], console)
    console.print(figure_table(report.summaries), goal_table(report.verdicts), missed(report.verdicts))
    write(report, options.output)
    console.print(f"written to {options.output}", soft_wrap=True)
    if options.docs:
        write(report, DOCS)


def _render(options: argparse.Namespace, console: Console) -> None:
    write(Report.from_json(json.loads((DOCS / "benchmarks.json").read_text())), DOCS)
    console.print(f"written to {DOCS}/benchmarks.md")


def _compare(options: argparse.Namespace, console: Console) -> None:
    comparison = compare(options.base, options.new, _settings(options), options.only or GROUPS, console.print)
    console.print(comparison.table())
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "comparison.json").write_text(json.dumps(comparison.as_json(), indent=1) + "\n")
    (options.output / "comparison.md").write_text(comparison.markdown())
    console.print(f"written to {options.output}/comparison.json and comparison.md", soft_wrap=True)


def _settings(options: argparse.Namespace) -> Settings:
    settings = QUICK if options.quick else Settings()
    given = {"rounds": options.rounds, "idle_seconds": getattr(options, "idle_seconds", None)}
    return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})


def measure(settings: Settings, sections: list[str], console: Console) -> Report:
    """Boot a guest, and measure some of SECTIONS and PARKED_SECTION in it; memory is measured in any case."""
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
        if PARKED_SECTION in sections:
            measures += measure_parked(guest, settings)
            console.print(f"measured {PARKED_SECTION}")
    return Report.of(environment, measures)


def write(report: Report, directory: Path) -> None:
    """Write the report into a directory: benchmarks.json, benchmarks.md and benchmarks.png."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    (directory / "benchmarks.md").write_text(markdown(report, TEMPLATE.read_text()))
    plot(report.summaries, directory / "benchmarks.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Phoenix in a guest of the lab: its speed, memory and wake-ups."
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="Measure Phoenix beside Debian's qemu-guest-agent and the bare port.")
    _add_common(run, [*SECTIONS, PARKED_SECTION])
    run.add_argument(
        "--idle-seconds", type=float, metavar="SECONDS", help="Time to watch the idle agents, twice (default: 60)."
    )
    run.add_argument("--docs", action="store_true", help="Write docs/benchmarks.md, its figures and its picture too.")
    run.set_defaults(action=_run)

    compare_parser = verbs.add_parser("compare", help="Compare two checkouts, whose agents take turns in one guest.")
    compare_parser.add_argument(
        "--base", required=True, metavar="PATH_OR_REV", help="Directory or git revision to compare with."
    )
    compare_parser.add_argument(
        "--new",
        default=str(ROOT),
        metavar="PATH_OR_REV",
        help="Directory or git revision to judge (default: this one).",
    )
    _add_common(compare_parser, list(GROUPS))
    compare_parser.set_defaults(action=_compare)

    render = verbs.add_parser(
        "render", help="Write docs/benchmarks.md again, from benchmarks.md.in and benchmarks.json."
    )
    render.set_defaults(action=_render)
    return parser


def _add_common(parser: argparse.ArgumentParser, names: list[str]) -> None:
    parser.add_argument("--rounds", type=int, metavar="N", help="Number of rounds (default: 5).")
    parser.add_argument("--quick", action="store_true", help="Measure less and more roughly.")
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=f"Measure only these: {', '.join(names)}."
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_OUTPUT,
        metavar="DIRECTORY",
        help="Where to write figures (default: build/bench).",
    )


if __name__ == "__main__":
    sys.exit(main())
