"""`phoenixctl info`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import duration, heading, moment, size, table
from phoenix_ga.cli.path_completion import complete_guest

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, SystemInformation


@click.command(
    short_help="Describe the guest.",
    epilog="""\b
Example:
  $ phoenixctl info unix:/run/web1.sock
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Describe the guest: its agent, kernel, load, memory, users and disks."""

    async def work(connected: Guest) -> tuple[str, int, SystemInformation]:
        return await connected.ping(), len(await connected.get_commands()), await connected.sysinfo()

    return each_guest(options, guest, work, lambda found: (_as_json(*found), _as_text(*found)))


def _as_json(version: str, count: int, system: SystemInformation) -> dict[str, Any]:
    from dataclasses import asdict

    return {"agent": version, "commands": count, "system": asdict(system)}


def _as_text(version: str, count: int, system: SystemInformation) -> str:
    kernel, load = system.kernel, system.load_average
    rows = [
        ("agent", f"phoenix-ga {version}, {count} commands"),
        ("name", kernel.node),
        ("kernel", f"{kernel.system} {kernel.release} {kernel.machine}, {system.word_size} bit"),
        ("up for", duration(system.uptime)),
        ("load", f"{load.one_minute:.2f} {load.five_minutes:.2f} {load.fifteen_minutes:.2f}"),
        ("memory", f"{_kib(system.memory.total)}, {_kib(system.memory.free)} free"),
        ("swap", f"{_kib(system.swap.total)}, {_kib(system.swap.free)} free" if system.swap.total else "none"),
    ]
    parts = [heading("System"), table(rows)]
    if system.disks:
        disks = [("name", "size", "used", "available", "mounted on")]
        for disk in system.disks:
            sizes = (disk.size_total, disk.size_used, disk.size_available)
            shown = [_kib(number) if disk.is_mounted else "-" for number in sizes]
            disks.append((disk.name, shown[0], shown[1], shown[2], disk.mount_point or "-"))
        parts += [heading("Disks"), table(disks)]
    if system.users:
        users = [(user.name, user.device, user.host or "-", moment(user.login_time)) for user in system.users]
        parts += [heading("Users"), table([("name", "terminal", "from", "since"), *users])]
    return "\n".join(parts)


def _kib(count: int) -> str:
    return size(count * 1024)
