"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from errno import ERANGE
from pathlib import Path
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59
# The longest value that Python reads.
_GROUPS_SIZE: Final = 1024


@dataclass(frozen=True)
class User:
    """A user with a connection.

    Attributes:
        uid: the user's number.
        name: its name, or the number as text.
        groups: the names of its groups, or their numbers as text.
        pid: the process that connected; 0 if unknown.
    """

    uid: int
    name: str
    groups: frozenset[str]
    pid: int = 0

    @property
    def program(self) -> str:
        """The name of the process, as it calls itself; empty if it has ended."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text(errors="replace").strip()
        except OSError:
            return ""


def peer_of(connection: socket.socket) -> User:
    """Return who connected, as the kernel recorded it: SO_PEERCRED and SO_PEERGROUPS, unix(7). Raises OSError."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    name = _user_name(uid)
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
        gids = {gid, *struct.unpack(f"{len(raw) // 4}I", raw)}
    except OSError as error:
        if error.errno != ERANGE:
            raise
        gids = {gid, *os.getgrouplist(name, gid)}
    return User(uid, name, frozenset(map(_group_name, gids)), pid)


def user_named(name: str) -> User:
    """Return a user of this host, with the groups of the user database. Raises KeyError."""
    entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    gids = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_uid, entry.pw_name, frozenset(map(_group_name, gids)))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
