"""The values that commands return.

Strings come from the guest unchanged: they may hold control characters, and bytes of file names that are not
UTF-8 are lone surrogates (PEP 383). Escape them before you write them to a terminal.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.wire.base64_text import decode_base64

if TYPE_CHECKING:
    from typing_extensions import Self

_BASIC: Final = {"str": Reader.text, "int": Reader.integer, "float": Reader.number, "bool": Reader.boolean}


@dataclass(frozen=True)
class _Model:
    """Base class of the dataclasses below: reads itself from an object, member by member.

    _paths: the places of members that are elsewhere or have another name. _readers: how to read other types.
    """

    _paths: ClassVar[dict[str, str]] = {}
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {}

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Return the value of an answer. Raises ReadError."""
        values: dict[str, Any] = {}
        for each in fields(cls):
            *above, name = cls._paths.get(each.name, each.name).split(".")
            place = reader
            for part in above:
                place = place.member(part)
            if each.default is MISSING or place.has(name):
                read = cls._readers.get(each.name) or _BASIC[str(each.type)]
                values[each.name] = read(place.member(name))
        return cls(**values)


def _read_time(reader: Reader) -> int:
    return reader.member("Sec").integer() * 1_000_000_000 + reader.member("Nsec").integer()


@dataclass(frozen=True)
class FileStatus(_Model):
    """The result of lstat(2) on a path.

    Attributes:
        name: the last component of the path.
        mode: file type and permissions.
        size, block_size: in bytes.
        blocks: in units of 512 bytes.
        accessed, modified, changed: in nanoseconds since the epoch.
        user, group: names of the owners; empty if unknown or not asked for.
        target: of a symbolic link; empty if not asked for.
    """

    name: str
    is_directory: bool
    device: int
    inode: int
    links: int
    mode: int
    uid: int
    gid: int
    special_device: int
    size: int
    block_size: int
    blocks: int
    accessed: int
    modified: int
    changed: int
    user: str = ""
    group: str = ""
    target: str = ""

    _paths: ClassVar[dict[str, str]] = {
        "is_directory": "isdir",
        "device": "stat.Dev",
        "inode": "stat.Ino",
        "links": "stat.Nlink",
        "mode": "stat.Mode",
        "uid": "stat.Uid",
        "gid": "stat.Gid",
        "special_device": "stat.Rdev",
        "size": "stat.Size",
        "block_size": "stat.Blksize",
        "blocks": "stat.Blocks",
        "accessed": "stat.Atim",
        "modified": "stat.Mtim",
        "changed": "stat.Ctim",
    }
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "accessed": _read_time,
        "modified": _read_time,
        "changed": _read_time,
    }

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode & 0o177777)

    @property
    def permissions(self) -> int:
        """The permission bits, including set-user-ID, set-group-ID and sticky."""
        return self.mode & 0o7777


def _read_base64(reader: Reader) -> bytes:
    try:
        return decode_base64(reader.text())
    except ReadError:
        raise
    except ValueError as error:
        raise ReadError(str(error)) from None


@dataclass(frozen=True)
class FilePiece(_Model):
    """A piece of a file. end: the end was reached, and the handle is closed."""

    data: bytes
    end: bool

    _paths: ClassVar[dict[str, str]] = {"data": "bufb64", "end": "eof"}
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"data": _read_base64}


@dataclass(frozen=True)
class Kernel(_Model):
    """The result of uname(2)."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str

    _paths: ClassVar[dict[str, str]] = {"system": "sysname", "node": "nodename"}


@dataclass(frozen=True)
class LoadAverage(_Model):
    """The number of running and waiting tasks, averaged over 1, 5 and 15 minutes."""

    one_minute: float
    five_minutes: float
    fifteen_minutes: float

    _paths: ClassVar[dict[str, str]] = {"one_minute": "1m", "five_minutes": "5m", "fifteen_minutes": "15m"}


@dataclass(frozen=True)
class Memory(_Model):
    """Memory, in KiB."""

    total: int
    free: int
    buffers: int

    _paths: ClassVar[dict[str, str]] = {"buffers": "buffer"}


@dataclass(frozen=True)
class Swap(_Model):
    """Swap space, in KiB."""

    total: int
    free: int


@dataclass(frozen=True)
class LoggedInUser(_Model):
    """A logged-in user. host: where from, or empty. login_time: in seconds since the epoch."""

    name: str
    device: str
    host: str
    login_time: int


@dataclass(frozen=True)
class Disk(_Model):
    """A disk or partition. The sizes are those of its mounted filesystem, in KiB; 0 if none is mounted."""

    name: str
    is_mounted: bool
    mount_point: str
    size_total: int
    size_used: int
    size_available: int

    _paths: ClassVar[dict[str, str]] = {"mount_point": "mountpoint", "size_available": "size_avail"}


@dataclass(frozen=True)
class SystemInformation(_Model):
    """The system of the guest. word_size: of a C `long`, in bits. uptime: in seconds."""

    kernel: Kernel
    word_size: int
    uptime: int
    load_average: LoadAverage
    memory: Memory
    swap: Swap
    users: tuple[LoggedInUser, ...]
    disks: tuple[Disk, ...]

    _paths: ClassVar[dict[str, str]] = {
        "kernel": "uname",
        "word_size": "long_bit",
        "load_average": "loadavg",
        "memory": "ram",
    }
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "kernel": Kernel.read,
        "load_average": LoadAverage.read,
        "memory": Memory.read,
        "swap": Swap.read,
        "users": lambda reader: reader.items(LoggedInUser.read),
        "disks": lambda reader: reader.items(Disk.read),
    }


@dataclass(frozen=True)
class FilesystemUsage(_Model):
    """A mounted filesystem.

    Attributes:
        size, free, available: in bytes; available is what users other than root can still write.
        files, files_free: numbers of inodes.
        error: statfs(2) failed; all numbers are 0.
    """

    mountpoint: str
    type: str
    source: str
    size: int = 0
    free: int = 0
    available: int = 0
    files: int = 0
    files_free: int = 0
    read_only: bool = False
    error: bool = False


@dataclass(frozen=True)
class Counters(_Model):
    """The kernel's counters of a disk or a network interface.

    Attributes:
        counts: by their names in docs/commands.md; what the kernel does not count is missing.
        state: the operational state of an interface, such as `up`; empty for a disk.
    """

    name: str
    counts: dict[str, int]
    state: str = ""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        values = reader.members(lambda member: member)
        texts = {name: values.pop(name).text() for name in ("name", "state") if name in values}
        reader.member("name")
        return cls(counts={name: value.integer() for name, value in values.items()}, **texts)


def _read_integers(reader: Reader) -> dict[str, int]:
    return reader.members(Reader.integer)


def _read_pressure(reader: Reader) -> dict[str, dict[str, dict[str, float]]]:
    return reader.members(lambda resource: resource.members(lambda kind: kind.members(Reader.number)))


@dataclass(frozen=True)
class Metrics(_Model):
    """The kernel's counters since boot. docs/commands.md describes the names in the dictionaries.

    Attributes:
        time: the guest's clock, in seconds since the epoch.
        boot_time: in seconds since the epoch.
        frozen: filesystems are frozen; then `filesystems` and `os` are empty.
        os: variables of os-release(5), in lower case.
        memory: /proc/meminfo in bytes; `HugePages_...` are numbers of pages.
        pressure: by resource and by `some` or `full`: averages in percent, `total` in microseconds.
        cpus: the number of the CPU as `cpu`, and its times in ticks.
        omitted: how many entries were left out because a list was too long.
    """

    time: float
    boot_time: int
    frozen: bool
    kernel: Kernel
    os: dict[str, str]
    load_average: LoadAverage
    ticks_per_second: int
    activity: dict[str, int]
    memory: dict[str, int]
    vmstat: dict[str, int]
    pressure: dict[str, dict[str, dict[str, float]]]
    cpus: tuple[dict[str, int], ...]
    disks: tuple[Counters, ...]
    filesystems: tuple[FilesystemUsage, ...]
    interfaces: tuple[Counters, ...]
    omitted: int

    _paths: ClassVar[dict[str, str]] = {"kernel": "uname", "load_average": "loadavg"}
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "kernel": Kernel.read,
        "os": lambda reader: reader.members(Reader.text),
        "load_average": LoadAverage.read,
        "activity": _read_integers,
        "memory": _read_integers,
        "vmstat": _read_integers,
        "pressure": _read_pressure,
        "cpus": lambda reader: reader.items(_read_integers),
        "disks": lambda reader: reader.items(Counters.read),
        "filesystems": lambda reader: reader.items(FilesystemUsage.read),
        "interfaces": lambda reader: reader.items(Counters.read),
    }

    def __post_init__(self) -> None:
        if self.ticks_per_second < 1:
            raise ReadError("the answer.ticks_per_second is not positive")


def _read_flags(reader: Reader) -> tuple[str, ...]:
    flags = reader.text()
    return tuple(flags.split("|")) if flags else ()


@dataclass(frozen=True)
class NetworkInterface(_Model):
    """A network interface.

    Attributes:
        hardware_address: or empty.
        addresses: in CIDR form, such as `192.0.2.10/24`.
        kind: such as `bridge`; empty if it is hardware, or the agent is too old to tell.
        container: whether it serves containers of the guest: a veth, or a bridge of such.
    """

    index: int
    name: str
    hardware_address: str
    flags: tuple[str, ...]
    addresses: tuple[str, ...]
    kind: str = ""
    container: bool = False

    _paths: ClassVar[dict[str, str]] = {"hardware_address": "hwaddr", "addresses": "ips"}
    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"flags": _read_flags, "addresses": Reader.texts}


@dataclass(frozen=True)
class PersistedInterface(_Model):
    """The file by which an interface has its configuration after a reboot.

    Attributes:
        manager: What reads it: `systemd-networkd`, `NetworkManager`, `netplan` or `ifupdown`.
        path: The file.
        content: Its text.
        backup: Copy of the file that it replaces; empty if there was none.
    """

    manager: str
    path: str
    content: str
    backup: str


@dataclass(frozen=True)
class Route(_Model):
    """A route. scope: as in rtnetlink(7). Strings that do not apply are empty.

    destination and mask are both empty in a default route. mask: in dotted form for IPv4.
    """

    interface: str
    scope: int
    destination: str
    mask: str
    source: str
    gateway: str

    _paths: ClassVar[dict[str, str]] = {
        "interface": "ifname",
        "destination": "dst.ip",
        "mask": "dst.mask",
        "source": "src",
    }


def _read_remaining(reader: Reader) -> int | None:
    seconds = reader.integer()
    return None if seconds < 0 else seconds


@dataclass(frozen=True)
class Check(_Model):
    """A check of the agent's self-test.

    Attributes:
        state: `ok`, `warning` for something that not every guest needs, or `failed`.
        text: the details.
    """

    name: str
    state: str
    text: str


@dataclass(frozen=True)
class SkippedFilesystem(_Model):
    """A filesystem that is not frozen.

    Attributes:
        reason: `unsupported`; `foreign` if another program has frozen it; in a plan also `read-only`, `fuse`,
            `network` or `overlay`.
        type: in a plan only.
    """

    mountpoint: str
    reason: str
    type: str = ""


@dataclass(frozen=True)
class Freeze(_Model):
    """A freeze.

    Attributes:
        generation: identifies it; empty if there was nothing to freeze.
        filesystems: mount points of what is frozen, in the order of freezing.
        skipped: what is not.
    """

    generation: str
    filesystems: tuple[str, ...]
    skipped: tuple[SkippedFilesystem, ...]

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "filesystems": Reader.texts,
        "skipped": lambda reader: reader.items(SkippedFilesystem.read),
    }


@dataclass(frozen=True)
class PlannedFilesystem(_Model):
    """A filesystem that would be frozen.

    Attributes:
        process: one in whose mount namespace it is mounted; 0: it is mounted in the agent's.
    """

    mountpoint: str
    type: str
    devices: tuple[str, ...]
    process: int

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"devices": Reader.texts}


@dataclass(frozen=True)
class FreezePlan(_Model):
    """What a freeze would do.

    Attributes:
        filesystems: in the order of freezing.
        dirty: bytes in memory that are not on the disks yet, of all filesystems.
    """

    filesystems: tuple[PlannedFilesystem, ...]
    skipped: tuple[SkippedFilesystem, ...]
    dirty: int

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "filesystems": lambda reader: reader.items(PlannedFilesystem.read),
        "skipped": lambda reader: reader.items(SkippedFilesystem.read),
    }


@dataclass(frozen=True)
class GrowthStep(_Model):
    """Something that grows.

    Attributes:
        layer: `partition`, `luks`, `physical volume`, `logical volume` or `filesystem`.
        name: of the device, or the mount point.
        before, after: sizes in bytes; `after` is a forecast until it is done.
        commands: what the guest runs for it.
    """

    layer: str
    name: str
    before: int
    after: int
    commands: tuple[str, ...]
    done: bool

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"commands": Reader.texts}


@dataclass(frozen=True)
class GrowthPlan(_Model):
    """How a filesystem grows, or has grown.

    Attributes:
        steps: in their order.
        refused: why nothing was done; or empty.
        failed: why not all was done; or empty.
        locked: devices with LUKS whose passphrase is needed.
    """

    steps: tuple[GrowthStep, ...]
    notes: tuple[str, ...]
    refused: str
    failed: str
    locked: tuple[str, ...]

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "steps": lambda reader: reader.items(GrowthStep.read),
        "notes": Reader.texts,
        "locked": Reader.texts,
    }


@dataclass(frozen=True)
class FreezeStatus(_Model):
    """The state of a freeze.

    Attributes:
        frozen: whether filesystems are frozen by the agent.
        remaining: seconds until the agent thaws automatically; None for never.
        ended: how the last freeze ended: `released` (by a thaw with its generation: it held), `thawed` (without),
            `deadline`, `died` (the agent was killed), `broken` (another program thawed), or empty.
        generation: of the last freeze; empty if there was none.
        since, until: when everything was frozen, and when the thaw began, in milliseconds since the epoch by the
            guest's clock; 0 if that has not happened.
        blocked: for how long writers were blocked, in milliseconds.
        stage: what a freeze in progress does: `hooks`, `write-back`, `freeze` and a mount point; else empty.
    """

    frozen: bool
    remaining: int | None
    ended: str
    generation: str
    since: int
    until: int
    blocked: int
    stage: str

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"remaining": _read_remaining}


@dataclass(frozen=True)
class ProcessInformation(_Model):
    """A process that `exec` started.

    Attributes:
        argv, user: as given to `exec`.
        started: in seconds since the epoch.
        terminal: it has a terminal.
        detached: it outlives its client.
        attached: a client has its streams.
        status, signal: how it ended; -1 if it did not end that way.
    """

    pid: int
    argv: tuple[str, ...]
    user: str
    started: int
    terminal: bool
    detached: bool
    attached: bool
    status: int = -1
    signal: int = -1

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"argv": Reader.texts}

    def __post_init__(self) -> None:
        if not (-1 <= self.status <= 255 and (self.signal == -1 or 1 <= self.signal <= 127)):
            raise ReadError(f"status {self.status} and signal {self.signal} cannot be those of a process")

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated number of the signal that ended it; None while it runs."""
        if self.signal >= 0:
            return -self.signal
        return self.status if self.status >= 0 else None


@dataclass(frozen=True)
class SystemProcess(_Model):
    """A process of the guest, whoever started it.

    Attributes:
        user: name of the effective user; empty if it has none.
        state: a letter as in proc(5): `R` runs, `S` sleeps, `D` waits for a disk, `Z` has ended.
        cpu_ticks: the CPU time that it has used.
        started: in seconds since the epoch.
        virtual, resident: memory in bytes.
        argv: empty for a thread of the kernel; may be cut.
    """

    pid: int
    parent: int
    uid: int
    user: str
    state: str
    nice: int
    threads: int
    cpu_ticks: int
    started: int
    virtual: int
    resident: int
    name: str
    argv: tuple[str, ...]

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {"argv": Reader.texts}


@dataclass(frozen=True)
class ProcessList(_Model):
    """All processes of the guest.

    Attributes:
        omitted: how many are left out, because the list would be too long.
        time: when the list was made, in seconds since the epoch.
        memory: of the system, in bytes.
    """

    processes: tuple[SystemProcess, ...]
    omitted: int
    time: float
    ticks_per_second: int
    memory: int

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "processes": lambda reader: reader.items(SystemProcess.read)
    }


@dataclass(frozen=True)
class SocketUser(_Model):
    """A process that has a socket open."""

    pid: int
    name: str


@dataclass(frozen=True)
class ListeningSocket(_Model):
    """A socket that waits for clients.

    Attributes:
        protocol: `tcp` or `udp`.
        address: `0.0.0.0` or `::` for all.
        user: name of the user that opened it; empty if it has none.
        processes: those that have it open.
    """

    protocol: str
    address: str
    port: int
    uid: int
    user: str
    processes: tuple[SocketUser, ...]

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "processes": lambda reader: reader.items(SocketUser.read)
    }


@dataclass(frozen=True)
class ListeningSockets(_Model):
    """The sockets that wait for clients. omitted: how many are left out, because there are too many."""

    sockets: tuple[ListeningSocket, ...]
    omitted: int

    _readers: ClassVar[dict[str, Callable[[Reader], Any]]] = {
        "sockets": lambda reader: reader.items(ListeningSocket.read)
    }


def read_returncode(message: dict[str, Any]) -> int:
    """Return the return code in the closing message of a process. Raises ReadError."""
    reader = Reader(message, "the closing message")
    name = "signal" if reader.has("signal") else "status"
    value = reader.member(name).integer()
    if name == "signal" and 1 <= value <= 127:
        return -value
    if name == "status" and 0 <= value <= 255:
        return value
    raise ReadError(f"a process cannot end with {name} {value}")
