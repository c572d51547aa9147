"""The state of the system: kernel, load, memory, users and disks.

Each function takes `root`, a prefix of the paths that it reads (for tests).
"""

from __future__ import annotations

import os
import struct

from phoenix_ga.agent.linux.block_devices import BlockDevice, place, read_topology
from phoenix_ga.agent.linux.mounts import Filesystem, MountTree, local_filesystems, read_mounts, telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

KIB: Final = 1024
MICROSECONDS: Final = 1_000_000
# utmp(5): ut_type of a logged-in user.
USER_PROCESS: Final = 7
# struct utmp: type, pid, line, id, user, host, exit (2), session, seconds, microseconds, address,
# reserve. Times have 32 bits if the machine also runs 32-bit programs, see bits/utmp.h of glibc.
_UTMP_32: Final = struct.Struct("=h2xi32s4s32s256shhiIi16s20x")
_UTMP_64: Final = struct.Struct("=h2xi32s4s32s256shhqqq16s20x4x")
_MACHINES_WITH_64: Final = ("aarch64", "alpha", "ia64", "loongarch64")
# The size, in sectors, that the kernel reports for a CD drive that never had a disc.
_NO_DISC: Final = 0x1FFFFF


class User:
    """A logged-in user. device: the terminal, below /dev; host: the remote host; both may be empty.

    login_time: seconds since the epoch, with a fraction. process: the leader of the session, 0 if not known.
    """

    __slots__ = ("device", "host", "login_time", "name", "process")

    def __init__(self, name: str, device: str, host: str, login_time: float, process: int = 0) -> None:
        self.name = name
        self.device = device
        self.host = host
        self.login_time = login_time
        self.process = process


class Disk:
    """A disk, a partition or a mapped device. point: where its filesystem is mounted, or empty.

    total, used, available: of that filesystem, in KiB; 0 if none is mounted. Available is what
    users other than root can still write.
    """

    __slots__ = ("available", "path", "point", "total", "used")

    def __init__(self, path: str, point: str = "", total: int = 0, used: int = 0, available: int = 0) -> None:
        self.path = path
        self.point = point
        self.total = total
        self.used = used
        self.available = available


def uname(root: str = "") -> dict[str, str]:
    """Return the members of struct utsname, see uname(2), the NIS domain included."""
    name = os.uname()
    return {
        "sysname": name.sysname,
        "nodename": name.nodename,
        "release": name.release,
        "version": name.version,
        "machine": name.machine,
        "domain": _read(root + "/proc/sys/kernel/domainname").strip() or "(none)",
    }


def long_bit() -> int:
    """Return the number of bits of a `long` of this process."""
    return struct.calcsize("l") * 8


def uptime(root: str = "") -> int:
    """Return whole seconds since boot, see proc(5)."""
    return int(_read(root + "/proc/uptime").partition(".")[0] or 0)


def load_average(root: str = "") -> tuple[float, float, float]:
    """Return the load averages of 1, 5 and 15 minutes, see proc(5)."""
    one, five, fifteen = _read(root + "/proc/loadavg").split()[:3]
    return float(one), float(five), float(fifteen)


def memory(root: str = "") -> dict[str, int]:
    """Return /proc/meminfo, such as `MemTotal` and `SwapFree`, in KiB."""
    values = {}
    for line in _read(root + "/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        values[name] = int(value.split()[0])
    return values


def users(root: str = "") -> list[User]:
    """Return the logged-in users, the earliest first, from utmp(5) and systemd-logind.

    Either may be missing: Debian 13 has no utmp any more, other systems have no logind.
    """
    found = _utmp_users(root)
    for user in _logind_users(root):
        if not any(is_same_login(user, other) for other in found):
            found.append(user)
    found.sort(key=_login_time)
    return found


def disks(root: str = "") -> list[Disk]:
    """Return the disks, each followed by its partitions, then the devices that are mapped onto them.

    Devices without a size or a medium are left out, and so are loop devices without a file, and floppy and zram
    devices without a mounted filesystem. A device that carries several filesystems, through partitions, LVM, LUKS or
    RAID, gets the one that is mounted at `/`, else the one at the shortest path. Only filesystems on block devices
    are examined, because a network filesystem could hang.
    """
    topology = read_topology(root)
    tree = MountTree(read_mounts(root))
    carried: dict[int, list[Filesystem]] = {}
    for filesystem in local_filesystems(tree.mounts, topology):
        for number in topology.beneath(filesystem.blocks):
            carried.setdefault(number, []).append(filesystem)
    shown = [
        (place(device, topology.devices[device.disk]), device)
        for device in topology.devices.values()
        if _is_shown(device, device.number in carried)
    ]
    shown.sort(key=_first)
    return [_measure(device.path, carried.get(device.number, ()), tree, root) for _, device in shown]


def _measure(path: str, filesystems: Iterable[Filesystem], tree: MountTree, root: str) -> Disk:
    mounts = [mount for filesystem in filesystems for mount in filesystem.mounts[:1]]
    if not mounts:
        return Disk(path)
    visible = [mount for filesystem in filesystems for mount in filesystem.mounts if tree.is_reachable(mount)]
    mount = min(visible or mounts, key=telling)
    if not visible:
        return Disk(path, mount.point)
    try:
        sizes = os.statvfs(os.fsencode(root) + mount.path)
    except OSError:
        return Disk(path, mount.point)
    return Disk(
        path,
        mount.point,
        sizes.f_blocks * sizes.f_frsize // KIB,
        (sizes.f_blocks - sizes.f_bfree) * sizes.f_frsize // KIB,
        sizes.f_bavail * sizes.f_frsize // KIB,
    )


def _is_shown(device: BlockDevice, carries: bool) -> bool:
    if device.sectors == 0 or device.hidden:
        return False
    if carries:
        return True
    if device.name.startswith("loop"):
        return bool(device.below or device.backing_file)
    if device.name.startswith("sr"):
        return device.sectors != _NO_DISC
    return not device.name.startswith(("fd", "ram", "zram"))


def _first(pair: tuple[tuple[bool, int, str, int, str], BlockDevice]) -> tuple[bool, int, str, int, str]:
    return pair[0]


def _utmp_users(root: str) -> list[User]:
    try:
        with open(root + "/run/utmp", "rb") as file:
            content = file.read()
    except OSError:
        return []
    record = _UTMP_64 if os.uname().machine in _MACHINES_WITH_64 else _UTMP_32
    found = []
    whole = len(content) - len(content) % record.size
    for kind, process, line, _, name, host, _, _, _, seconds, microseconds, _ in record.iter_unpack(content[:whole]):
        # The entry of a killed session stays.
        if kind == USER_PROCESS and os.path.exists(f"{root}/proc/{process}"):
            found.append(User(_text(name), _text(line), _text(host), seconds + microseconds / MICROSECONDS, process))
    return found


def _logind_users(root: str) -> list[User]:
    """Read /run/systemd/sessions: one file of KEY=VALUE lines each, `N.ref` beside it is a FIFO."""
    directory = root + "/run/systemd/sessions"
    found = []
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    for name in names:
        if "." in name:
            continue
        session = {}
        for line in _read(f"{directory}/{name}").splitlines():
            key, _, value = line.partition("=")
            session[key] = value.strip('"')
        # systemd >= 256 has user-early (root), user-light and more; all are people.
        is_person = session.get("CLASS", "").partition("-")[0] == "user"
        if is_person and session.get("STATE") != "closing":
            found.append(
                User(
                    session.get("USER") or session.get("UID", ""),
                    session.get("TTY") or session.get("DISPLAY", ""),
                    session.get("REMOTE_HOST", ""),
                    int(session.get("REALTIME") or 0) / MICROSECONDS,
                    int(session.get("LEADER") or 0),
                )
            )
    return found


def is_same_login(one: User, other: User) -> bool:
    """Return whether logind's entry `one` and utmp's `other` are of one login."""
    if one.process and one.process == other.process:
        return True
    if one.name != other.name:
        return False
    # logind may not know the terminal of a remote session.
    return one.device == other.device or (not one.device and one.host == other.host)


def _login_time(user: User) -> float:
    return user.login_time


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _read(path: str) -> str:
    """Read a small file; empty if it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
