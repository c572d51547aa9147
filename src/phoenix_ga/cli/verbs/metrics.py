"""`phoenixctl metrics`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import duration, heading, size, table
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phoenix_ga.client import Counters, Guest, Metrics

_MODES = ("user", "nice", "system", "iowait", "irq", "softirq", "steal", "idle")


@verb(
    short_help="Show CPU, memory, disk and network figures.",
    epilog="""\b
All counts are those since boot. --prometheus and --openmetrics print them with the names that
Prometheus' node_exporter uses, for one guest.

\b
Examples:
  $ phoenixctl metrics web1
  $ phoenixctl metrics --prometheus web1
""",
)
@click.option("--prometheus", "form", flag_value="prometheus", help="Print the text format of Prometheus.")
@click.option("--openmetrics", "form", flag_value="openmetrics", help="Print the text format of OpenMetrics.")
@GUEST
@click.pass_obj
def command(options: Options, form: str | None, guest: str) -> int:
    """Show the figures of the guest's kernel: CPU, memory, pressure, disks, filesystems, network."""
    from dataclasses import asdict

    if form and options.json:
        raise click.UsageError(f"--json and --{form} exclude each other.")
    if form and not is_plain(guest):
        raise click.UsageError(f"--{form} takes one guest: run it once for each.")

    async def work(connected: Guest) -> Metrics:
        return await connected.metrics()

    return each_guest(options, guest, work, lambda metrics: (asdict(metrics), _in_form(metrics, form)))


def _in_form(metrics: Metrics, form: str | None) -> str:
    if form is None:
        return _as_text(metrics)
    from phoenix_ga.cli.exposition import node_families, to_text

    return to_text(node_families(metrics), openmetrics=form == "openmetrics")


def _as_text(metrics: Metrics) -> str:
    load, activity, memory = metrics.load_average, metrics.activity, metrics.memory
    rows = [
        ("name", metrics.kernel.node),
        ("filesystems", "frozen" if metrics.frozen else ""),
        ("up for", duration(max(int(metrics.time) - metrics.boot_time, 0))),
        ("cpus", f"{len(metrics.cpus)}, {_cpu_shares(metrics)}"),
        ("load", f"{load.one_minute:.2f} {load.five_minutes:.2f} {load.fifteen_minutes:.2f}"),
        ("threads", f"{activity.get('running', 0)} running, {activity.get('blocked', 0)} blocked"),
        ("memory", _of(memory, "MemTotal", "MemAvailable", "available")),
        ("swap", _of(memory, "SwapTotal", "SwapFree", "free") if memory.get("SwapTotal") else "none"),
        ("oom kills", str(metrics.vmstat.get("oom_kill", "-"))),
    ]
    parts = [heading("System"), table([row for row in rows if row[1]])]
    if metrics.pressure:
        pressure = [["resource", "some 10 s", "60 s", "300 s", "full 10 s", "60 s", "300 s"]]
        for resource, kinds in metrics.pressure.items():
            averages = [
                f"{kinds[kind][name]:.1f}%" if name in kinds.get(kind, {}) else "-"
                for kind in ("some", "full")
                for name in ("avg10", "avg60", "avg300")
            ]
            pressure.append([resource, *averages])
        parts += [heading("Pressure"), table(pressure)]
    if metrics.disks:
        disks = [("name", "read", "reads", "written", "writes", "busy")]
        disks += [_disk_row(disk) for disk in metrics.disks if any(disk.counts.values())]
        parts += [heading("Disks"), table(disks)]
    if metrics.filesystems:
        filesystems = [("mounted on", "type", "size", "available", "used", "inodes used")]
        for each in metrics.filesystems:
            used = each.size - each.free
            filesystems.append(
                (
                    each.mountpoint,
                    each.type,
                    size(each.size),
                    size(each.available),
                    # As df(1): of what users other than root can have.
                    _percent(used, used + each.available),
                    _percent(each.files - each.files_free, each.files),
                )
            )
        parts += [heading("Filesystems"), table(filesystems)]
    if metrics.interfaces:
        interfaces = [("name", "state", "received", "errors", "dropped", "sent", "errors", "dropped")]
        interfaces += [_interface_row(interface) for interface in metrics.interfaces]
        parts += [heading("Network"), table(interfaces)]
    return "\n".join(parts)


def _cpu_shares(metrics: Metrics) -> str:
    totals = {mode: sum(cpu.get(mode, 0) for cpu in metrics.cpus) for mode in _MODES}
    whole = sum(totals.values())
    return ", ".join(f"{mode} {_percent(ticks, whole)}" for mode, ticks in totals.items() if ticks or mode == "idle")


def _disk_row(disk: Counters) -> tuple[str, str, str, str, str, str]:
    counts = disk.counts
    return (
        disk.name,
        size(counts.get("sectors_read", 0) * 512),
        str(counts.get("reads", 0)),
        size(counts.get("sectors_written", 0) * 512),
        str(counts.get("writes", 0)),
        f"{counts.get('io_ms', 0) / 1000:.1f} s",
    )


def _interface_row(interface: Counters) -> tuple[str, str, str, str, str, str, str, str]:
    counts = interface.counts
    return (
        interface.name,
        interface.state,
        size(counts.get("rx_bytes", 0)),
        str(counts.get("rx_errors", 0)),
        str(counts.get("rx_dropped", 0)),
        size(counts.get("tx_bytes", 0)),
        str(counts.get("tx_errors", 0)),
        str(counts.get("tx_dropped", 0)),
    )


def _of(memory: Mapping[str, int], total: str, rest: str, word: str) -> str:
    return f"{size(memory.get(total, 0))}, {size(memory.get(rest, 0))} {word}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole > 0 else "-"
