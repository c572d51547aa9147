"""The processes of the system, as ps(1) shows them, and signals to them."""

from __future__ import annotations

import os

from phoenix_ga.agent.operations.files import decode_path
from phoenix_ga.agent.operations.owners import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

# Of a command line, in bytes.
_COMMAND_LINE_MAX: Final = 4096


def running_processes(boot_time: int, root: str = "") -> Iterator[dict[str, Any]]:
    """Yield a description of each process, in the order of their IDs. Those that end meanwhile are left out.

    Args:
        boot_time: In seconds since the epoch.
        root: A prefix of the paths that are read (for tests).
    """
    names = Names()
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    for pid in sorted(int(name) for name in os.listdir(f"{root}/proc") if name.isdecimal()):
        directory = f"{root}/proc/{pid}"
        try:
            # proc(5): the owner of the directory is the effective user.
            uid = os.stat(directory).st_uid
            stat = _read(f"{directory}/stat")
            command_line = _read(f"{directory}/cmdline")
        except OSError:
            continue
        # A name may hold anything, also a parenthesis.
        name, _, rest = stat.partition(b"(")[2].rpartition(b") ")
        fields = rest.split()
        yield {
            "pid": pid,
            "parent": int(fields[1]),
            "uid": uid,
            "user": names.user(uid),
            "state": fields[0].decode("ascii"),
            "nice": int(fields[16]),
            "threads": int(fields[17]),
            "cpu_ticks": int(fields[11]) + int(fields[12]),
            "started": boot_time + int(fields[19]) // ticks_per_second,
            "virtual": int(fields[20]),
            "resident": int(fields[21]) * page,
            "name": decode_path(name),
            "argv": [decode_path(word) for word in command_line.rstrip(b"\0").split(b"\0") if command_line],
        }


def boot_time(root: str = "") -> int:
    """Return when the kernel was booted, in seconds since the epoch."""
    with open(f"{root}/proc/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return int(line.split()[1])
    return 0


def send_signal(pid: int, signal: int) -> None:
    """Send a signal to one process. Raises OSError: ESRCH if there is none, EPERM, EINVAL."""
    os.kill(pid, signal)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _COMMAND_LINE_MAX)
    finally:
        os.close(fd)
