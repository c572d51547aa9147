"""`phoenixctl info`"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import duration, heading, moment, size, table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, SystemInformation

_FILE_MAX = 64 * 1024


@dataclass(frozen=True)
class _Found:
    """What the guest answered. What its policy forbids is empty or None. available: memory, in KiB."""

    agent: str
    commands: int
    system: SystemInformation
    frozen: bool | None
    name: str
    cpus: int | None
    available: int | None
    addresses: tuple[str, ...]


@verb(
    short_help="Describe the guest.",
    epilog="""\b
Example:
  $ phoenixctl info web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> int:
    """Describe the guest: agent, operating system, CPUs, memory, addresses, disks and users."""
    return each_guest(options, guest, _ask, lambda found: (_as_json(found), _as_text(found)))


async def _ask(guest: Guest) -> _Found:
    from phoenix_ga.client import CommandError

    commands = await guest.commands()
    agent, system = await guest.ping(), await guest.sysinfo()
    frozen = None
    addresses: tuple[str, ...] = ()
    try:
        frozen = (await guest.filesystems.status()).frozen
        interfaces = await guest.network.interfaces()
        addresses = tuple(
            address
            for interface in interfaces
            if "loopback" not in interface.flags
            for address in interface.addresses
        )
    except CommandError:
        pass
    release = await _read(guest, "/etc/os-release")
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    available = re.search(r"^MemAvailable: *(\d{1,18}) kB$", await _read(guest, "/proc/meminfo"), re.MULTILINE)
    return _Found(
        agent,
        len(commands),
        system,
        frozen,
        name[1] if name else "",
        _count_cpus(await _read(guest, "/sys/devices/system/cpu/online")),
        int(available[1]) if available else None,
        addresses,
    )


async def _read(guest: Guest, path: str) -> str:
    """Return the text of a small file, empty if it cannot be read."""
    from phoenix_ga.cli.streams import read_in_time
    from phoenix_ga.client import CommandError, StreamError

    data = b""
    try:
        async with guest.files.get_stream(path, digest=False) as opened:
            while len(data) < _FILE_MAX and (piece := await read_in_time(guest, opened.stream)):
                data += piece
    except (CommandError, StreamError):
        return ""
    return data[:_FILE_MAX].decode("utf-8", "replace")


def _count_cpus(text: str) -> int | None:
    """Return the number of CPUs in a list such as `0-2,4`."""
    if not re.fullmatch(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*\s*", text):
        return None
    ranges = [part.partition("-") for part in text.strip().split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _as_json(found: _Found) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "agent": found.agent,
        "commands": found.commands,
        "frozen": found.frozen,
        "os": found.name or None,
        "cpus": found.cpus,
        "memory_available": found.available,
        "addresses": list(found.addresses),
        "system": asdict(found.system),
    }


def _as_text(found: _Found) -> str:
    system = found.system
    kernel, load = system.kernel, system.load_average
    memory = (
        f"{_kib(found.available)} available" if found.available is not None else f"{_kib(system.memory.free)} free"
    )
    rows = [
        ("name", kernel.node),
        ("os", found.name),
        ("kernel", f"{kernel.system} {kernel.release} {kernel.machine}, {system.word_size} bit"),
        ("agent", f"phoenix-ga {found.agent}, {found.commands} commands"),
        ("filesystems", "frozen" if found.frozen else ""),
        ("up for", duration(system.uptime)),
        ("cpus", "" if found.cpus is None else str(found.cpus)),
        ("load", f"{load.one_minute:.2f} {load.five_minutes:.2f} {load.fifteen_minutes:.2f}"),
        ("memory", f"{_kib(system.memory.total)}, {memory}"),
        ("swap", f"{_kib(system.swap.total)}, {_kib(system.swap.free)} free" if system.swap.total else "none"),
        ("addresses", ", ".join(found.addresses)),
    ]
    parts = [heading("System"), table([row for row in rows if row[1]])]
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
