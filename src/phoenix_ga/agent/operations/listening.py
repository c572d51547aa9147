"""The sockets that wait for clients, and the processes that have them open."""

from __future__ import annotations

import os
import sys
from _socket import AF_INET, AF_INET6, inet_ntop

from phoenix_ga.agent.operations.files import decode_path
from phoenix_ga.agent.operations.owners import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from typing import Any, Final

# Of the list; a name server may have tens of thousands of UDP sockets.
SOCKETS_MAX: Final = 4096
# net/tcp_states.h. An UDP socket without a peer is "closed".
_LISTEN: Final = b"0A"
_UNCONNECTED: Final = b"07"
# Name of the protocol, of the file below /proc/net, and the state.
_TABLES: Final = (
    ("tcp", "tcp", _LISTEN),
    ("tcp", "tcp6", _LISTEN),
    ("udp", "udp", _UNCONNECTED),
    ("udp", "udp6", _UNCONNECTED),
)
_WORD_DIGITS: Final = 8
_SOCKET: Final = "socket:["


def listening_sockets(root: str = "") -> dict[str, Any]:
    """Return `sockets`, those of TCP and UDP in this network namespace, and the number of `omitted` ones.

    root: a prefix of the paths that are read (for tests).
    """
    found: list[dict[str, Any]] = []
    omitted = 0
    names = Names()
    inodes = []
    for protocol, table, state in _TABLES:
        for address, port, uid, inode in _read_table(f"{root}/proc/net/{table}", state):
            if len(found) == SOCKETS_MAX:
                omitted += 1
                continue
            socket = {"protocol": protocol, "address": address, "port": port, "uid": uid, "user": names.user(uid)}
            found.append(socket)
            inodes.append(inode)
    users = _users_of(set(inodes), root)
    for socket, inode in zip(found, inodes):
        socket["processes"] = users.get(inode, [])
    return {"sockets": found, "omitted": omitted}


def _read_table(path: str, state: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield address, port, user and inode of each socket in a state, see proc_net_tcp(5)."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        # There is no IPv6.
        return
    with file:
        next(file, None)
        for line in file:
            fields = line.split()
            if fields[3] == state:
                address, _, port = fields[1].decode("ascii").partition(":")
                yield _address(address), int(port, 16), int(fields[7]), int(fields[9])
            elif state == _LISTEN:
                # The kernel lists those that listen first; there may be many thousand others.
                return


def _address(digits: str) -> str:
    words = [digits[at : at + _WORD_DIGITS] for at in range(0, len(digits), _WORD_DIGITS)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _users_of(inodes: Set[int], root: str) -> dict[int, list[dict[str, Any]]]:
    """Return the processes that have each socket open."""
    wanted = {f"{_SOCKET}{inode}]": inode for inode in inodes}
    found: dict[int, list[dict[str, Any]]] = {}
    for pid in sorted(int(name) for name in os.listdir(f"{root}/proc") if name.isdecimal()):
        try:
            with os.scandir(f"{root}/proc/{pid}/fd") as entries:
                own = {link for entry in entries if (link := _link(entry.path)) in wanted}
            if own:
                with open(f"{root}/proc/{pid}/comm", "rb") as file:
                    process = {"pid": pid, "name": decode_path(file.read().rstrip(b"\n"))}
                for link in own:
                    found.setdefault(wanted[link], []).append(process)
        except OSError:
            # It has ended.
            continue
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        # It was closed just now.
        return ""
