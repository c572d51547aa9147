"""What the commands return, as values. Each class reads itself from an answer with `read`.

Texts come from the guest as they are: they may hold control characters, and bytes of file names
that are not UTF-8 stand as lone surrogates (PEP 383). Escape them before a terminal sees them.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.wire.base64_text import decode_base64


def _read_time(shape: Shape) -> int:
    return shape.member("Sec").integer() * 1_000_000_000 + shape.member("Nsec").integer()


@dataclass(frozen=True)
class FileStatus:
    """What lstat(2) tells of a path.

    name: the last part of the path. mode: type and permissions. size, block_size: in bytes. blocks:
    of 512 bytes. accessed, modified, changed: in nanoseconds since the epoch. user, group: the names of
    the owners, and target: what a symbolic link holds; empty where there is none or they were not asked for.
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

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode & 0o177777)

    @property
    def permissions(self) -> int:
        """The permission bits, set-user-ID and the like included."""
        return self.mode & 0o7777

    @classmethod
    def read(cls, shape: Shape) -> FileStatus:
        """Return the status from an answer. Raises ShapeError."""
        status = shape.member("stat")
        return cls(
            name=shape.member("name").text(),
            is_directory=shape.member("isdir").boolean(),
            device=status.member("Dev").integer(),
            inode=status.member("Ino").integer(),
            links=status.member("Nlink").integer(),
            mode=status.member("Mode").integer(),
            uid=status.member("Uid").integer(),
            gid=status.member("Gid").integer(),
            special_device=status.member("Rdev").integer(),
            size=status.member("Size").integer(),
            block_size=status.member("Blksize").integer(),
            blocks=status.member("Blocks").integer(),
            accessed=_read_time(status.member("Atim")),
            modified=_read_time(status.member("Mtim")),
            changed=_read_time(status.member("Ctim")),
            user=shape.optional_text("user"),
            group=shape.optional_text("group"),
            target=shape.optional_text("target"),
        )


@dataclass(frozen=True)
class FilePiece:
    """A piece of a file. end: there is no more, and the handle is closed."""

    data: bytes
    end: bool

    @classmethod
    def read(cls, shape: Shape) -> FilePiece:
        """Return the piece from an answer. Raises ShapeError."""
        try:
            data = decode_base64(shape.member("bufb64").text())
        except ValueError as error:
            raise ShapeError(str(error)) from None
        return cls(data, shape.member("eof").boolean())


@dataclass(frozen=True)
class Kernel:
    """What uname(2) tells."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str

    @classmethod
    def read(cls, shape: Shape) -> Kernel:
        """Return it from `uname` in an answer. Raises ShapeError."""
        return cls(
            system=shape.member("sysname").text(),
            node=shape.member("nodename").text(),
            release=shape.member("release").text(),
            version=shape.member("version").text(),
            machine=shape.member("machine").text(),
            domain=shape.member("domain").text(),
        )


@dataclass(frozen=True)
class LoadAverage:
    """How many tasks ran or wanted to, on average over 1, 5 and 15 minutes."""

    one_minute: float
    five_minutes: float
    fifteen_minutes: float

    @classmethod
    def read(cls, shape: Shape) -> LoadAverage:
        """Return it from `loadavg` in an answer. Raises ShapeError."""
        return cls(*(shape.member(name).number() for name in ("1m", "5m", "15m")))


@dataclass(frozen=True)
class Memory:
    """Memory, all in KiB."""

    total: int
    free: int
    buffers: int

    @classmethod
    def read(cls, shape: Shape) -> Memory:
        """Return it from `ram` in an answer. Raises ShapeError."""
        return cls(*(shape.member(name).integer() for name in ("total", "free", "buffer")))


@dataclass(frozen=True)
class Swap:
    """Swap space, all in KiB."""

    total: int
    free: int

    @classmethod
    def read(cls, shape: Shape) -> Swap:
        """Return it from `swap` in an answer. Raises ShapeError."""
        return cls(shape.member("total").integer(), shape.member("free").integer())


@dataclass(frozen=True)
class LoggedInUser:
    """A user who is logged in. host: where from, or empty. login_time: in seconds since the epoch."""

    name: str
    device: str
    host: str
    login_time: int

    @classmethod
    def read(cls, shape: Shape) -> LoggedInUser:
        """Return one of `users` in an answer. Raises ShapeError."""
        return cls(
            name=shape.member("name").text(),
            device=shape.member("device").text(),
            host=shape.member("host").text(),
            login_time=shape.member("login_time").integer(),
        )


@dataclass(frozen=True)
class Disk:
    """A disk or partition. The sizes are those of the mounted filesystem, in KiB; 0 where there is none."""

    name: str
    is_mounted: bool
    mount_point: str
    size_total: int
    size_used: int
    size_available: int

    @classmethod
    def read(cls, shape: Shape) -> Disk:
        """Return one of `disks` in an answer. Raises ShapeError."""
        return cls(
            name=shape.member("name").text(),
            is_mounted=shape.member("is_mounted").boolean(),
            mount_point=shape.member("mountpoint").text(),
            size_total=shape.member("size_total").integer(),
            size_used=shape.member("size_used").integer(),
            size_available=shape.member("size_avail").integer(),
        )


@dataclass(frozen=True)
class SystemInformation:
    """What runs in the guest. word_size: of a `long`, in bits. uptime: in seconds."""

    kernel: Kernel
    word_size: int
    uptime: int
    load_average: LoadAverage
    memory: Memory
    swap: Swap
    users: tuple[LoggedInUser, ...]
    disks: tuple[Disk, ...]

    @classmethod
    def read(cls, shape: Shape) -> SystemInformation:
        """Return it from an answer. Raises ShapeError."""
        return cls(
            kernel=Kernel.read(shape.member("uname")),
            word_size=shape.member("long_bit").integer(),
            uptime=shape.member("uptime").integer(),
            load_average=LoadAverage.read(shape.member("loadavg")),
            memory=Memory.read(shape.member("ram")),
            swap=Swap.read(shape.member("swap")),
            users=shape.member("users").items(LoggedInUser.read),
            disks=shape.member("disks").items(Disk.read),
        )


@dataclass(frozen=True)
class NetworkInterface:
    """A network interface. hardware_address: or empty. addresses: such as `192.0.2.10/24`."""

    index: int
    name: str
    hardware_address: str
    flags: tuple[str, ...]
    addresses: tuple[str, ...]

    @classmethod
    def read(cls, shape: Shape) -> NetworkInterface:
        """Return one from an answer. Raises ShapeError."""
        flags = shape.member("flags").text()
        return cls(
            index=shape.member("index").integer(),
            name=shape.member("name").text(),
            hardware_address=shape.member("hwaddr").text(),
            flags=tuple(flags.split("|")) if flags else (),
            addresses=shape.member("ips").items(Shape.text),
        )


@dataclass(frozen=True)
class Route:
    """A route. scope: as in rtnetlink(7). The texts are empty where not set.

    destination and mask are both empty in a default route. mask: in dotted form for IPv4.
    """

    interface: str
    scope: int
    destination: str
    mask: str
    source: str
    gateway: str

    @classmethod
    def read(cls, shape: Shape) -> Route:
        """Return one from an answer. Raises ShapeError."""
        destination = shape.member("dst")
        return cls(
            interface=shape.member("ifname").text(),
            scope=shape.member("scope").integer(),
            destination=destination.member("ip").text(),
            mask=destination.member("mask").text(),
            source=shape.member("src").text(),
            gateway=shape.member("gateway").text(),
        )


@dataclass(frozen=True)
class FreezeDetails:
    """What is known of a freeze. remaining: seconds until the agent thaws by itself; None for never.

    ended: how the last freeze ended, where none lasts: `thawed`, `deadline`, or `died` where the agent was
    killed meanwhile; empty where there was none.
    """

    frozen: bool
    remaining: int | None
    ended: str

    @classmethod
    def read(cls, shape: Shape) -> FreezeDetails:
        """Return them from an answer. Raises ShapeError."""
        remaining = shape.member("remaining").integer()
        return cls(
            frozen=shape.member("frozen").boolean(),
            remaining=None if remaining < 0 else remaining,
            ended=shape.member("ended").text(),
        )
