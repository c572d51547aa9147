"""What a sandbox or missing rights take away from the agent, such as ProtectSystem= of systemd.exec(5)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# Numbers of linux/capability.h, and what does not work without them.
_CAPABILITIES: Final = (
    ((1,), "CAP_DAC_OVERRIDE", "files of other users cannot be read and written"),
    ((0, 3), "CAP_CHOWN and CAP_FOWNER", "owners and permissions of files cannot be set"),
    ((5,), "CAP_KILL", "programs of other users cannot be ended"),
    ((6, 7), "CAP_SETGID and CAP_SETUID", "programs cannot run as other users"),
    ((12,), "CAP_NET_ADMIN", "the network cannot be configured"),
    ((21,), "CAP_SYS_ADMIN", "filesystems cannot be frozen"),
    ((22,), "CAP_SYS_BOOT", "the guest cannot be rebooted"),
    ((25,), "CAP_SYS_TIME", "the clock cannot be set"),
)
_DIRECTORIES: Final = ("/", "/boot", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var")


def restrictions(root: str = "", process: str = "/proc/self") -> Iterator[str]:
    """Yield what the agent cannot do, and why.

    Args:
        root: prefix of /proc, /sys and /dev.
        process: the directory in /proc of the agent.
    """
    status = _status(f"{root}{process}/status")
    effective = int(status.get("CapEff", "-1"), 16)
    for numbers, names, effect in _CAPABILITIES:
        if any(not effective >> number & 1 for number in numbers):
            yield f"{effect}: without {names}"
    read_only = _read_only(f"{root}{process}/mountinfo")
    if read_only:
        yield f"files cannot be changed on what is mounted read-only: {', '.join(read_only)}"
    for listed, directory, name in (
        ("/sys/class/virtio-ports", "/dev", "ports"),
        ("/sys/class/block", "/dev", "disks"),
    ):
        devices = _names(root + listed)
        if devices and not any(os.path.exists(f"{root}{directory}/{device}") for device in devices):
            yield f"{name} cannot be opened: their devices are not in /dev"
    if status.get("NoNewPrivs") == "1":
        yield "programs cannot gain rights, as by sudo: NoNewPrivileges= is set"
    if status.get("Seccomp") == "2":
        yield "some system calls fail: a seccomp filter forbids them"
    if _differ(f"{root}{process}/ns/net", f"{root}/proc/1/ns/net"):
        yield "the network is not that of the guest: the agent has a network namespace of its own"


def _status(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


def _read_only(path: str) -> list[str]:
    """Return the directories that are on a mount that is read-only."""
    # From mountinfo: statvfs(2) waits for a network filesystem that hangs.
    options = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" ")
                options[fields[4]] = fields[5].split(",")
    except (OSError, IndexError):
        return []
    found = []
    for directory in _DIRECTORIES:
        mount = directory if directory in options else "/"
        if "ro" in options.get(mount, ()) and (directory == mount or "/" not in found):
            found.append(directory)
    return found


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _differ(path: str, other: str) -> bool:
    try:
        return os.readlink(path) != os.readlink(other)
    except OSError:
        return False
