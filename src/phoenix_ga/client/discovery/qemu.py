"""Guests by the command lines of the QEMU processes that run on this host.

Source: qemu(1), `-chardev`, `-device`, `-name`; options are separated by commas, a doubled one stands for itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.discovery.host_sockets import path_by_inode, visible_path
from phoenix_ga.client.inventory import AGENT_PORTS, KnownGuest, best_port

SOURCE: Final = "qemu"
_PROGRAM: Final = re.compile(r"(?:qemu-system-.+|qemu-kvm|kvm)$")
_COMMAND_LINE_MAX: Final = 1024 * 1024


def qemu_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests whose QEMU has a socket for a port of the agent, or else a vsock device."""
    guests = []
    for process in (root / "proc").glob("[0-9]*"):
        words = _command_line(process)
        if words and _PROGRAM.match(words[0].rpartition("/")[2]):
            guest = _guest(process, words[1:])
            if guest is not None:
                guests.append(guest)
    return guests


def _command_line(process: Path) -> list[str]:
    try:
        with (process / "cmdline").open("rb") as file:
            data = file.read(_COMMAND_LINE_MAX)
    except OSError:
        return []
    return data.decode("utf-8", "surrogateescape").split("\0")


def _guest(process: Path, words: list[str]) -> KnownGuest | None:
    name, cid = "", ""
    sockets: dict[str, str] = {}
    ports: dict[str, str] = {}
    for option, value in zip(words, words[1:]):
        if option in ("-name", "--name"):
            options = _options(value, "guest")
            name = options.get("guest", name)
        elif option in ("-chardev", "--chardev"):
            options = _options(value, "backend")
            if options.get("backend") == "socket" and _is_server(options):
                sockets[options.get("id", "")] = _socket_path(process, options)
        elif option in ("-device", "--device"):
            options = _device(value)
            driver = str(options.get("driver", ""))
            if driver == "virtserialport" and options.get("name") in AGENT_PORTS:
                ports[str(options["name"])] = str(options.get("chardev", ""))
            elif driver.startswith("vhost-vsock") and "guest-cid" in options:
                cid = str(options["guest-cid"])
    endpoints = {port: f"unix:{sockets[chardev]}" for port, chardev in ports.items() if sockets.get(chardev)}
    endpoint = best_port(endpoints) or (f"vsock:{cid}" if cid.isdigit() else "")
    return KnownGuest(name or f"qemu-{process.name}", endpoint, SOURCE) if endpoint else None


def _options(text: str, first: str) -> dict[str, str]:
    """Return options by name. first: the name of the one that needs none. A flag is `on`."""
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


def _socket_path(process: Path, options: dict[str, str]) -> str:
    """Return the path of a socket, `` where there is none; libvirt hands QEMU the socket itself."""
    path = options.get("path", "")
    if not path and options.get("fd", "").isdigit():
        try:
            target = str((process / "fd" / options["fd"]).readlink())
        except OSError:
            return ""
        inode = target.removeprefix("socket:[").removesuffix("]")
        path = path_by_inode(process / "net" / "unix").get(int(inode), "") if inode.isdigit() else ""
    return visible_path(process, path) if path else ""
