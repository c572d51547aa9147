"""How far a partition can grow, from its table and the kernel's view of it."""

from __future__ import annotations

from errno import EIO

from phoenix_ga.agent.linux.block_devices import BlockDevice
from phoenix_ga.agent.operations.grow.tools import run_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The unit of sizes in sysfs.
SECTOR: Final = 512
_ALIGNMENT: Final = 1 << 20
# The second copy of a GPT at the end of the disk, in sectors, the larger ones of 4096 bytes as well.
_GPT_RESERVED: Final = 33
# Numbers of sectors in an MBR have 32 bits.
_MBR_SECTORS: Final = 2**32 - 1
_PRIMARY_MAX: Final = 4


class Room:
    """How large a partition can be.

    size: in bytes. start: in sectors of `unit` bytes. number: its own. obstacle: what keeps it from growing further
    than that, or empty if nothing but the end of the disk does.
    """

    __slots__ = ("number", "obstacle", "size", "start", "unit")

    def __init__(self, size: int, start: int, number: int, unit: int, obstacle: str = "") -> None:
        self.size = size
        self.start = start
        self.number = number
        self.unit = unit
        self.obstacle = obstacle


def partition_room(device: BlockDevice, disk: BlockDevice) -> Room:
    """Return how large a partition can be. Raises OSError."""
    directory = f"/sys/block/{disk.name}"
    number = _number(f"{directory}/{device.name}/partition")
    unit = _number(f"{directory}/queue/logical_block_size")
    start = _number(f"{directory}/{device.name}/start") * SECTOR
    size = device.sectors * SECTOR
    label, partitions = read_table(run_tool(("sfdisk", "--dump", disk.node), time_limit=60.0), unit)
    own = find_entry(start, size, partitions)
    if own is None:
        raise OSError(EIO, f"the kernel knows another partition {device.node} than the table on {disk.node} has")
    return find_room(own, partitions, disk.sectors * SECTOR, unit, label, number, device.node)


def find_entry(start: int, size: int, partitions: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the place that the table has for a partition of the kernel; None if that is another one.

    The table may be ahead: the kernel was not told of the new size, because something failed in between.
    """
    return next((each for each in partitions if each[0] == start and each[1] >= size), None)


def find_room(
    own: tuple[int, int], partitions: list[tuple[int, int]], disk: int, unit: int, label: str, number: int, name: str
) -> Room:
    """Return how large a partition can be, from the places of all: starts and sizes, in bytes."""
    start, size = own
    first = start // unit
    if label not in ("gpt", "dos"):
        return Room(size, first, number, unit, f"{name} is in a partition table of the kind {label}")
    if label == "dos" and number > _PRIMARY_MAX:
        return Room(size, first, number, unit, f"{name} is in an extended partition, which would have to grow first")
    end = disk - _GPT_RESERVED * unit if label == "gpt" else min(disk, _MBR_SECTORS * unit)
    following = [each for each, _ in partitions if each > start]
    obstacle = ""
    if following:
        end = min(end, *following)
        obstacle = f"{name} is not the last partition of its disk: move or remove what follows it"
    elif label == "dos" and disk > _MBR_SECTORS * unit:
        obstacle = f"{name} is in an MBR, which ends at {_MBR_SECTORS * unit} bytes: convert it to GPT"
    end -= end % max(_ALIGNMENT, unit)
    return Room(max(end - start, size), first, number, unit, obstacle)


def read_table(dump: str, unit: int) -> tuple[str, list[tuple[int, int]]]:
    """Return the kind of a partition table, and the starts and sizes of its partitions in bytes, from a dump.

    See sfdisk(8): a line `label: gpt`, and lines such as `/dev/vda1 : start= 2048, size= 16384, name="a, b"`.
    """
    label = ""
    found = []
    for line in dump.splitlines():
        name, _, rest = line.partition(":")
        if name == "label":
            label = rest.strip()
        # The name of a partition comes after both.
        start, comma, rest = rest.strip().partition(",")
        size = rest.partition(",")[0].strip()
        if comma and start.startswith("start=") and size.startswith("size="):
            found.append((int(start[6:]) * unit, int(size[5:]) * unit))
    return label, found


def rescan(disk: BlockDevice) -> None:
    """Let the kernel ask a SCSI disk for its size; others tell by themselves."""
    try:
        with open(f"/sys/block/{disk.name}/device/rescan", "w") as file:
            file.write("1")
    except OSError:
        pass


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())
