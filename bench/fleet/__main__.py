"""`python -m bench.fleet`: scrape a simulated fleet, and print what it costs."""

from __future__ import annotations

import argparse

from bench.fleet.simulation import Fleet, simulate


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet",
        description="Scrape mock guests through one exporter, as Prometheus does, and print what it costs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--guests", type=int, default=1000, metavar="N", help="number of honest guests")
    parser.add_argument("--hung", type=int, default=0, metavar="N", help="number of guests that never answer")
    parser.add_argument("--hostile", type=int, default=0, metavar="N", help="number of guests that do harm")
    parser.add_argument("--interval", type=float, default=15.0, metavar="SECONDS", help="between scrapes of a guest")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="scrapes of each guest")
    parser.add_argument("--hub", action="store_true", help="put a hub between exporter and guests")
    options = parser.parse_args()
    fleet = Fleet(
        options.guests, options.hung, options.hostile, options.interval, options.rounds, through_hub=options.hub
    )
    for name, figure in simulate(fleet).rows():
        print(f"{name:42} {figure}")


if __name__ == "__main__":
    main()
