"""The user that a process runs as."""

from __future__ import annotations

import os
import pwd
from errno import ENOENT

from phoenix_ga.agent.operations.owners import ID_MAX, group_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Account:
    """The user that a process runs as, from passwd(5).

    A number that is not in passwd(5) is valid, too: its group has the same number, and its home is `/`.

    Args:
        user: USER or USER:GROUP, names or numbers; empty for the agent's own user. With a group, the process has no
            other group.

    Raises:
        OSError: ENOENT if there is no such user; EINVAL if there is no such group.
    """

    def __init__(self, user: str) -> None:
        user, colon, group = user.partition(":")
        entry = _find(user) if user else pwd.getpwuid(os.geteuid())
        if entry is None:
            self.name = user
            self.uid = self.gid = int(user)
            self.home, self.shell = "/", "/bin/sh"
        else:
            self.name = entry.pw_name
            self.uid, self.gid = entry.pw_uid, entry.pw_gid
            self.home, self.shell = entry.pw_dir, entry.pw_shell or "/bin/sh"
        self.changes = bool(user or colon)
        self.groups: list[int] = []
        if colon:
            self.gid = group_id(group)
            self.groups = [self.gid]
        elif self.changes:
            self.groups = [self.gid] if entry is None else os.getgrouplist(self.name, self.gid)

    def environment(self) -> dict[str, str]:
        """Return what login(1) would set."""
        return {
            "HOME": self.home,
            "LOGNAME": self.name,
            "PATH": _PATH,
            "SHELL": self.shell,
            "USER": self.name,
        }


def _find(user: str) -> pwd.struct_passwd | None:
    """Return the entry of a user; None for a number that has none. Raises OSError (ENOENT)."""
    is_number = user.isascii() and user.isdecimal() and len(user) <= len(str(ID_MAX)) and int(user) <= ID_MAX
    try:
        return pwd.getpwuid(int(user)) if is_number else pwd.getpwnam(user)
    except (KeyError, UnicodeEncodeError):
        if is_number:
            return None
        raise OSError(ENOENT, f"there is no user {user!r}") from None
