"""Runs a program that may do no harm, whatever it is asked: python -m tests.fuzz.sandbox DIR:DIR... PROGRAM [ARG]...

In namespaces of its own, everything but these directories is read-only, `/run` and `/dev` are nearly empty, there is
no network, and no right over the machine is left. Files stay below 64 MB.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Final

_NEW_MOUNTS: Final = 0x00020000
_NEW_NAMES: Final = 0x04000000
_NEW_IPC: Final = 0x08000000
_NEW_USERS: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000

_MS_RDONLY: Final = 1
_MS_BIND: Final = 1 << 12
_MS_REC: Final = 1 << 14
_MS_PRIVATE: Final = 1 << 18

_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000

_PR_CAPBSET_DROP: Final = 24
# What the agent may do with files and with its own network: from CAP_CHOWN to CAP_SETUID, and CAP_NET_ADMIN.
_KEPT: Final = (0, 1, 2, 3, 4, 6, 7, 12)
_CAPABILITIES: Final = 64

_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_FILE_MAX: Final = 64 * 1024 * 1024

_libc: Final = ctypes.CDLL(None, use_errno=True)


def enter(directories: Sequence[str]) -> None:
    """Put this process into the sandbox. Raises OSError if the system does not allow it."""
    users = _NEW_USERS if os.geteuid() else 0
    uid, gid = os.geteuid(), os.getegid()
    _call(_libc.unshare, users | _NEW_MOUNTS | _NEW_NAMES | _NEW_IPC | _NEW_NETWORK)
    if users:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES}
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    _set_read_only("/", recursive=True)
    for path in directories:
        _mount(path, path, "", _MS_BIND)
        _set_read_only(path, recursive=False, read_only=False)
    for path in ("/run", "/dev"):
        _mount("tmpfs", path, "tmpfs", 0, "size=1m,mode=755")
    for name, fd in devices.items():
        os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY))
        _mount(f"/proc/self/fd/{fd}", f"/dev/{name}", "", _MS_BIND)
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_MAX, _FILE_MAX))
    for capability in range(_CAPABILITIES):
        # Those that the kernel does not know are an error.
        if capability not in _KEPT:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _set_read_only(path: str, recursive: bool, read_only: bool = True) -> None:
    attributes = (ctypes.c_uint64 * 4)(int(read_only), int(not read_only), 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    _call(
        _libc.syscall,
        *(ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), path.encode(), ctypes.c_uint(flags)),
        *(ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes))),
    )


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call(_libc.mount, source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    enter(sys.argv[1].split(":"))
    os.execvp(sys.argv[2], sys.argv[2:])
