"""Guests found in the command lines of the QEMU processes on this host.

A command line is a claim: any local user can start a program whose arguments are those of QEMU. So the executable and
the user of the process are checked, the owner of its socket, and, after connecting, the user that listens on it
(`KnownGuest.owners`).

Sources: qemu(1), `-chardev`, `-device`, `-name`: options are separated by commas, and a doubled comma is a literal
one; proc(5).
"""

from __future__ import annotations

import json
import os
import pwd
import re
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.host_sockets import path_of_inode, visible_path
from phoenix_ga.client.inventory import AGENT_PORTS, KnownGuest, best_port

SOURCE: Final = "qemu"
_PROGRAM: Final = re.compile(r"\.?(?:qemu-system-.+|qemu-kvm|kvm)(?: \(deleted\))?")
# The users that libvirt and distributions run QEMU as.
_USERS: Final = ("libvirt-qemu", "qemu")
_COMMAND_LINE_MAX: Final = 1024 * 1024


def qemu_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests whose QEMU has a socket for a port of the agent, or else a vsock device.

    QEMU must run as root, as libvirt's user or as the current user.
    """
    trusted = _trusted_users()
    guests = []
    for process in (root / "proc").glob("[0-9]*"):
        words = _command_line(process)
        if words and _PROGRAM.fullmatch(words[0].rpartition("/")[2]):
            owner = _owner(process)
            if owner in trusted and _is_qemu(process):
                guest = _guest(process, words[1:], (0, os.geteuid(), owner))
                if guest is not None:
                    guests.append(guest)
    return guests


def _trusted_users() -> set[int]:
    users = {0, os.geteuid()}
    for name in _USERS:
        try:
            users.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            pass
    return users


def _owner(process: Path) -> int:
    """Return the effective user ID of a process, or -1.

    Not the owner of its directory: that is root for any process that called prctl(PR_SET_DUMPABLE, 0).
    """
    try:
        for line in (process / "status").read_text(errors="replace").splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[2])
    except (OSError, ValueError, IndexError):
        pass
    return -1


def _is_qemu(process: Path) -> bool:
    """Return whether the executable is a QEMU, as far as this user may know."""
    try:
        return _PROGRAM.fullmatch((process / "exe").readlink().name) is not None
    except PermissionError:
        # Another, trusted user's process.
        return True
    except OSError:
        return False


def _command_line(process: Path) -> list[str]:
    try:
        with (process / "cmdline").open("rb") as file:
            data = file.read(_COMMAND_LINE_MAX)
    except OSError:
        return []
    return data.decode("utf-8", "surrogateescape").split("\0")


def _guest(process: Path, words: list[str], owners: tuple[int, ...]) -> KnownGuest | None:
    name, cid, monitor = "", "", ""
    sockets: dict[str, str] = {}
    ports: dict[str, str] = {}
    for option, value in zip(words, words[1:]):
        if option in ("-name", "--name"):
            options = _options(value, "guest")
            name = options.get("guest", name)
        elif option in ("-chardev", "--chardev"):
            options = _options(value, "backend")
            if options.get("backend") == "socket" and _is_server(options):
                sockets[options.get("id", "")] = _socket_path(process, options, owners)
        elif option in ("-mon", "--mon"):
            options = _options(value, "chardev")
            if options.get("mode") == "control":
                monitor = monitor or sockets.get(options.get("chardev", ""), "")
        elif option in ("-qmp", "--qmp") and value.startswith("unix:"):
            options = _options(value.removeprefix("unix:"), "path")
            if _is_server(options):
                monitor = monitor or _socket_path(process, options, owners)
        elif option in ("-device", "--device"):
            options = _device(value)
            driver = str(options.get("driver", ""))
            if driver == "virtserialport" and options.get("name") in AGENT_PORTS:
                ports[str(options["name"])] = str(options.get("chardev", ""))
            elif driver.startswith("vhost-vsock") and "guest-cid" in options:
                cid = str(options["guest-cid"])
    endpoints = {port: f"unix:{sockets[chardev]}" for port, chardev in ports.items() if sockets.get(chardev)}
    endpoint = best_port(endpoints) or (f"vsock:{cid}" if cid.isdigit() else "")
    if not endpoint:
        return None
    return KnownGuest(name or f"qemu-{process.name}", endpoint, SOURCE, owners=owners, qmp=monitor)


def _options(text: str, first: str) -> dict[str, str]:
    """Return options by name. first: the name of an option without one at the beginning. Flags are `on`."""
    options: dict[str, str] = {}
    for number, part in enumerate(text.replace(",,", "\0").split(",")):
        name, equals, value = part.replace("\0", ",").partition("=")
        if equals:
            options[name] = value
        elif number == 0:
            options[first] = name
        else:
            options[name] = "on"
    return options


def _device(value: str) -> dict[str, Any]:
    if not value.startswith("{"):
        return dict(_options(value, "driver"))
    try:
        options = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}


def _is_server(options: dict[str, str]) -> bool:
    return options.get("server") in ("on", "yes", "true", "y")


def _socket_path(process: Path, options: dict[str, str], owners: tuple[int, ...]) -> str:
    """Return the path of a socket; empty if it has none, or belongs to another user."""
    path = options.get("path", "")
    if not path and options.get("fd", "").isdigit():
        # libvirt passes a listening socket to QEMU.
        try:
            target = str((process / "fd" / options["fd"]).readlink())
        except OSError:
            return ""
        inode = target.removeprefix("socket:[").removesuffix("]")
        path = path_of_inode(int(inode), process) if inode.isdigit() else ""
    path = visible_path(process, path) if path else ""
    try:
        return path if not path or os.stat(path).st_uid in owners else ""
    except OSError:
        # Connecting to it says what is wrong.
        return path
