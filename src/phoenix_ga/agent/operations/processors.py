"""Processors and memory blocks that can be set offline, see sysfs(5), and how busy processors were.

Each function takes `root`, a prefix of all paths (for tests).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PROCESSORS: Final = "/sys/devices/system/cpu"
_MEMORY: Final = "/sys/devices/system/memory"
_STATISTICS: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice")


class Part:
    """A processor or memory block. online: in use. removable: `online` can be changed."""

    __slots__ = ("number", "online", "removable")

    def __init__(self, number: int, online: bool, removable: bool) -> None:
        self.number = number
        self.online = online
        self.removable = removable


def processors(root: str = "") -> list[Part]:
    """Return all processors. Raises OSError."""
    return [_processor(number, root) for number in _numbers(root + _PROCESSORS, "cpu")]


def _processor(number: int, root: str) -> Part:
    state = _read(f"{root}{_PROCESSORS}/cpu{number}/online")
    # A processor that cannot be set offline, such as the first, has no such file.
    return Part(number, state != "0", state is not None)


def set_processor(number: int, online: bool, root: str = "") -> None:
    """Set a processor online or offline. Raises OSError: ENOENT if there is none, EINVAL if it cannot be changed."""
    directory = f"{root}{_PROCESSORS}/cpu{number}"
    if not os.path.isdir(directory):
        raise OSError(ENOENT, f'open("{_PROCESSORS}/cpu{number}/"): {os.strerror(ENOENT)}')
    processor = _processor(number, root)
    if processor.online == online:
        return
    if not processor.removable:
        raise OSError(EINVAL, f"logical processor #{number} can't be offlined")
    _write(f"{directory}/online", "1" if online else "0")


def memory_blocks(root: str = "") -> list[Part]:
    """Return all memory blocks; empty if the kernel does not list them."""
    return [_memory_block(number, root) for number in _numbers(root + _MEMORY, "memory")]


def _memory_block(number: int, root: str) -> Part:
    directory = f"{root}{_MEMORY}/memory{number}"
    state = _read(f"{directory}/state")
    # A kernel that does not show the state cannot change it.
    return Part(number, state in {"online", None}, state is not None and _read(f"{directory}/removable") != "0")


def has_memory_block(number: int, root: str = "") -> bool:
    """Return whether the block exists."""
    return os.path.isdir(f"{root}{_MEMORY}/memory{number}")


def set_memory_block(number: int, online: bool, root: str = "") -> None:
    """Set a memory block online or offline. Raises OSError; FileNotFoundError if that is not supported."""
    if _memory_block(number, root).online != online:
        _write(f"{root}{_MEMORY}/memory{number}/state", "online" if online else "offline")


def memory_block_size(root: str = "") -> int:
    """Return the size of a block of memory, in bytes. Raises OSError."""
    with open(f"{root}{_MEMORY}/block_size_bytes", encoding="ascii") as file:
        return int(file.read(), 16)


def processor_statistics(root: str = "") -> list[dict[str, int]]:
    """Return the number of each processor, as `cpu`, and its milliseconds in each state. Raises OSError."""
    milliseconds = 1000 // os.sysconf("SC_CLK_TCK")
    found = []
    with open(f"{root}/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu":
                times = {word: int(tick) * milliseconds for word, tick in zip(_STATISTICS, ticks)}
                found.append({"cpu": int(name[3:]), **times})
    return found


def _numbers(directory: str, prefix: str) -> list[int]:
    """Return the numbers of the entries named by a prefix and a number, sorted."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name[len(prefix) :]) for name in names if _is_numbered(name, prefix))


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) :].isdecimal()


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def _write(path: str, text: str) -> None:
    # Unbuffered, so that write() itself fails if the kernel refuses.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f'write("{path}"): {error.strerror}') from None
    finally:
        os.close(fd)
