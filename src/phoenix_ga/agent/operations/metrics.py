"""The kernel's counters, for monitoring: CPUs, memory, pressure, disks, filesystems, network.

Each function takes `root`, a prefix of the paths that it reads (for tests).
"""

from __future__ import annotations

import os
import time

from phoenix_ga.agent.linux.mounts import MountTree, read_mounts
from phoenix_ga.agent.operations.identity import os_release
from phoenix_ga.agent.operations.system import load_average, uname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.linux.mounts import Mount

# Entries of each list; a host with thousands of containers has more.
ENTRIES_MAX: Final = 1024
_KIB: Final = 1024
# proc(5), /proc/stat.
_CPU: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
_ACTIVITY: Final = {
    b"intr": "interrupts",
    b"ctxt": "context_switches",
    b"processes": "forks",
    b"procs_running": "running",
    b"procs_blocked": "blocked",
}
# Documentation/admin-guide/iostats.rst; older kernels count less.
_DISK: Final = (
    "reads",
    "reads_merged",
    "sectors_read",
    "read_ms",
    "writes",
    "writes_merged",
    "sectors_written",
    "write_ms",
    "in_progress",
    "io_ms",
    "weighted_io_ms",
    "discards",
    "discards_merged",
    "sectors_discarded",
    "discard_ms",
    "flushes",
    "flush_ms",
)
# The columns of /proc/net/dev.
_INTERFACE: Final = (
    "rx_bytes",
    "rx_packets",
    "rx_errors",
    "rx_dropped",
    "rx_fifo",
    "rx_frame",
    "rx_compressed",
    "rx_multicast",
    "tx_bytes",
    "tx_packets",
    "tx_errors",
    "tx_dropped",
    "tx_fifo",
    "tx_collisions",
    "tx_carrier",
    "tx_compressed",
)
_OS_RELEASE: Final = (
    "BUILD_ID",
    "ID",
    "ID_LIKE",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "NAME",
    "PRETTY_NAME",
    "VARIANT",
    "VARIANT_ID",
    "VERSION",
    "VERSION_CODENAME",
    "VERSION_ID",
)
# Without a block device of their own, but statfs(2) on them waits for no server.
_LOCAL: Final = ("bcachefs", "btrfs", "tmpfs", "zfs")
# Others may have to ask a server or a daemon when a path leads through them.
_IN_KERNEL: Final = ("cgroup", "cgroup2", "debugfs", "devtmpfs", "overlay", "proc", "ramfs", "sysfs", "tracefs")


def read_metrics(frozen: bool, root: str = "") -> dict[str, Any]:
    """Return the counters of the kernel since boot, and the state of the system.

    frozen: filesystems are frozen, so none is touched: neither their sizes nor the name of the OS are returned.
    Raises OSError if there is no /proc.
    """
    activity: dict[str, int] = {}
    cpus, boot_time = _processors(activity, root)
    lists = {
        "cpus": cpus,
        "disks": _disks(root),
        # The device of the mount may be frozen, and then statfs(2) waits on some kernels.
        "filesystems": [] if frozen else _filesystems(root),
        "interfaces": _interfaces(root),
    }
    release = {} if frozen else os_release((root + "/etc/os-release", root + "/usr/lib/os-release"))
    one, five, fifteen = load_average(root)
    return {
        "time": time.time(),
        "boot_time": boot_time,
        "frozen": frozen,
        "uname": uname(root),
        "os": {key.lower(): release[key] for key in _OS_RELEASE if key in release},
        "loadavg": {"1m": one, "5m": five, "15m": fifteen},
        "ticks_per_second": os.sysconf("SC_CLK_TCK"),
        "activity": activity,
        "memory": _memory(root),
        "vmstat": {_text(key): int(value) for key, value in _pairs(_optional(root + "/proc/vmstat"))},
        "pressure": _pressure(root),
        **{key: entries[:ENTRIES_MAX] for key, entries in lists.items()},
        "omitted": sum(max(len(entries) - ENTRIES_MAX, 0) for entries in lists.values()),
    }


def _processors(activity: dict[str, int], root: str) -> tuple[list[dict[str, int]], int]:
    """Return the time of each online CPU, in ticks, and when the system was booted; fill in `activity`."""
    cpus = []
    boot_time = 0
    for line in _read(root + "/proc/stat").splitlines():
        key, _, values = line.partition(b" ")
        if key in _ACTIVITY:
            # `intr` goes on with thousands of numbers.
            activity[_ACTIVITY[key]] = int(values.partition(b" ")[0])
        elif key == b"btime":
            boot_time = int(values)
        elif key.startswith(b"cpu") and len(key) > 3:
            times = dict(zip(_CPU, map(int, values.split())))
            times["cpu"] = int(key[3:])
            cpus.append(times)
    return cpus, boot_time


def _memory(root: str) -> dict[str, int]:
    """Return /proc/meminfo in bytes; `HugePages_...` are numbers of pages."""
    found = {}
    for line in _read(root + "/proc/meminfo").splitlines():
        name, _, value = line.partition(b":")
        number, *unit = value.split()
        found[_text(name)] = int(number) * _KIB if unit else int(number)
    return found


def _pressure(root: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return pressure stall information; empty if the kernel has none, see Documentation/accounting/psi.rst."""
    found = {}
    for resource in ("cpu", "io", "memory", "irq"):
        kinds = {}
        for line in _optional(f"{root}/proc/pressure/{resource}").splitlines():
            kind, *pairs = _text(line).split()
            values: dict[str, float] = {}
            for pair in pairs:
                name, _, value = pair.partition("=")
                values[name] = int(value) if name == "total" else float(value)
            kinds[kind] = values
        if kinds:
            found[resource] = kinds
    return found


def _disks(root: str) -> list[dict[str, Any]]:
    found = []
    for line in _optional(root + "/proc/diskstats").splitlines():
        _, _, name, *values = line.split()
        disk: dict[str, Any] = dict(zip(_DISK, map(int, values)))
        disk["name"] = _text(name)
        found.append(disk)
    return found


def _filesystems(root: str) -> list[dict[str, Any]]:
    """Return the mounts of local filesystems. What could wait for a server or a FUSE daemon is left out."""
    tree = MountTree(read_mounts(root))
    remote = set()
    found: list[dict[str, Any]] = []
    for mount in tree.mounts:
        has_sizes = mount.type in _LOCAL or (os.major(mount.device) != 0 and not mount.type.startswith("fuse"))
        # The path of what is mounted on a remote filesystem leads through it.
        if mount.parent in remote or not (has_sizes or mount.type in _IN_KERNEL):
            remote.add(mount.identifier)
        elif has_sizes and tree.is_reachable(mount):
            found.append(_measure(mount, root))
        if len(found) > ENTRIES_MAX:
            break
    return found


def _measure(mount: Mount, root: str) -> dict[str, Any]:
    found: dict[str, Any] = {"mountpoint": mount.point, "type": mount.type, "source": mount.source}
    try:
        sizes = os.statvfs(os.fsencode(root) + mount.path)
    except OSError:
        found["error"] = True
        return found
    unit = sizes.f_frsize
    found.update(
        size=sizes.f_blocks * unit,
        free=sizes.f_bfree * unit,
        available=sizes.f_bavail * unit,
        files=sizes.f_files,
        files_free=sizes.f_ffree,
        read_only=bool(sizes.f_flag & os.ST_RDONLY),
    )
    return found


def _interfaces(root: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    # The first two lines are headings.
    for line in _optional(root + "/proc/net/dev").splitlines()[2:]:
        # An alias may have a colon in its name.
        name, _, values = line.rpartition(b":")
        interface: dict[str, Any] = dict(zip(_INTERFACE, map(int, values.split())))
        interface["name"] = _text(name.strip())
        if len(found) < ENTRIES_MAX:
            directory = f"{root}/sys/class/net/{interface['name']}/"
            interface["state"] = _text(_optional(directory + "operstate").strip()) or "unknown"
            interface["mtu"] = int(_optional(directory + "mtu") or 0)
            # Others pass on what is counted for these.
            interface["hardware"] = int(os.path.exists(directory + "device"))
        found.append(interface)
    return found


def _pairs(content: bytes) -> list[list[bytes]]:
    return [line.split() for line in content.splitlines()]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _read(path: str) -> bytes:
    with open(os.fsencode(path), "rb", 0) as file:
        return file.read()


def _optional(path: str) -> bytes:
    """Read a file; empty if it cannot be read: the kernel may lack it, or the interface may be gone."""
    try:
        return _read(path)
    except OSError:
        return b""
