"""Unix sockets of this host, whoever made them: where they are, and whether a client has them.

Sources: proc(5), unix(7), net/unix/af_unix.c for the columns of /proc/net/unix.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_CONNECTED: Final = "03"


class _Socket(NamedTuple):
    state: str
    inode: int
    path: str


def path_by_inode(table: Path) -> dict[int, str]:
    """Return the paths of the sockets in a table such as /proc/net/unix; none where it can't be read."""
    return {found.inode: found.path for found in _read(table)}


def held_paths(table: Path = Path("/proc/net/unix")) -> frozenset[str]:
    """Return the paths of the sockets whose server has taken a client.

    A client that waits to be taken does not count: its socket at the server's side has no inode yet.
    """
    return frozenset(found.path for found in _read(table) if found.state == _CONNECTED and found.inode)


def _read(table: Path) -> Iterator[_Socket]:
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines[1:]:
        # Num RefCount Protocol Flags Type St Inode Path; the path is left out where there is none.
        columns = line.split(None, 7)
        if len(columns) == 8 and columns[6].isdigit() and not columns[7].startswith("@"):
            yield _Socket(columns[5], int(columns[6]), columns[7])


def visible_path(process: Path, path: str) -> str:
    """Return how this process gets to a file that another one, with /proc directory `process`, calls `path`.

    The two may live in different mount namespaces, as in a container, or in different directories.
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
