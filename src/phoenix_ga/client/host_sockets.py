"""The Unix sockets of this host: their paths, and whether a client is connected.

The kernel is asked by netlink, sock_diag(7) and <linux/unix_diag.h>. The table in /proc/net/unix is ambiguous: a
socket whose path has a newline forges a row.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_ESTABLISHED: Final = 1
_SHOW_NAME: Final = 1
_SHOW_PEER: Final = 4
_ATTRIBUTE_NAME: Final = 0
_ATTRIBUTE_PEER: Final = 2
_PEER: Final = struct.Struct("=I")
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBHIIIII")
_MESSAGE: Final = struct.Struct("=BBBBIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ANSWER_MAX: Final = 1 << 16


class _Socket(NamedTuple):
    state: int
    inode: int
    path: str
    peer: int


def path_of_inode(inode: int, process: Path) -> str:
    """Return the path of the socket with this inode that a process has; empty if it has none or is ambiguous."""
    for found in _sockets():
        if found.inode == inode:
            return found.path
    # In another network namespace only the table is readable. Two rows with one inode: one of them is forged.
    try:
        rows = (process / "net" / "unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return ""
    # Num RefCount Protocol Flags Type St Inode Path
    columns = [row.split(None, 7) for row in rows]
    paths = [row[7] for row in columns if len(row) == 8 and row[6] == str(inode)]
    return paths[0] if len(paths) == 1 and not paths[0].startswith("@") else ""


def held_paths() -> frozenset[str]:
    """Return the paths of the sockets whose server has accepted a client.

    A client in the backlog does not count: its socket at the server's side has no inode yet.
    """
    return frozenset(found.path for found in _sockets() if found.state == _ESTABLISHED and found.inode)


def rivals(path: str, own: int = 0) -> str:
    """Return which programs are connected to a socket, for messages; empty if none is, or if `own` is.

    Args:
        path: the name of the socket, as its server calls it.
        own: inode of a connected socket of this process. If the server has accepted it too, there is no rival.
    """
    peers = {found.peer for found in _sockets() if found.state == _ESTABLISHED and found.inode and found.path == path}
    if not peers or own in peers:
        return ""
    return " and ".join(_owners(peers)) or "another program"


def _owners(inodes: set[int]) -> list[str]:
    """Return a description of each process that has one of these sockets, as far as they can be seen."""
    links = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(entry.path) in links for entry in os.scandir(process / "fd")):
                found.append(f"{(process / 'comm').read_text(errors='replace').strip()} (process {process.name})")
        except OSError:
            # It has ended, or belongs to another user.
            continue
    return found


def _sockets() -> Iterator[_Socket]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
            body = _REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME | _SHOW_PEER, 0, 0)
            header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
            netlink.send(header + body)
            while True:
                data = netlink.recv(_ANSWER_MAX)
                while data:
                    length, kind, _, _, _ = _HEADER.unpack_from(data)
                    if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                        return
                    yield from _parse(data[_HEADER.size : length])
                    data = data[_aligned(length) :]
    except OSError:
        return


def _parse(message: bytes) -> Iterator[_Socket]:
    _, _, state, _, inode, _, _ = _MESSAGE.unpack_from(message)
    offset = _MESSAGE.size
    path, peer = "", 0
    while offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < _ATTRIBUTE.size:
            return
        value = message[offset + _ATTRIBUTE.size : offset + length]
        # An abstract name begins with a NUL.
        if kind == _ATTRIBUTE_NAME and not value.startswith(b"\0"):
            path = os.fsdecode(value.rstrip(b"\0"))
        elif kind == _ATTRIBUTE_PEER:
            (peer,) = _PEER.unpack(value)
        offset += _aligned(length)
    if path:
        yield _Socket(state, inode, path, peer)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def visible_path(process: Path, path: str) -> str:
    """Return a path for this process to a file that another process calls `path`.

    The other one, whose directory in /proc is `process`, may be in another mount namespace, such as a container's,
    or in another directory.
    """
    if not path.startswith("/"):
        try:
            path = str((process / "cwd").readlink() / path)
        except OSError:
            return path
    there = f"{process}/root{path}"
    try:
        if not Path(path).exists() or not Path(path).samefile(there):
            return there if Path(there).exists() else path
    except OSError:
        pass
    return path
