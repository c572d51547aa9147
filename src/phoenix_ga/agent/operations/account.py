"""The user that a process runs as."""

from __future__ import annotations

import os
import pwd
from errno import ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Account:
    """The user that a process runs as, from passwd(5).

    Args:
        user: a name or a number; empty for the agent's own user.

    Raises:
        OSError: ENOENT if there is no such user.
    """

    def __init__(self, user: str) -> None:
        try:
            if not user:
                entry = pwd.getpwuid(os.geteuid())
            elif user.isdecimal():
                entry = pwd.getpwuid(int(user))
            else:
                entry = pwd.getpwnam(user)
        except (KeyError, OverflowError):
            raise OSError(ENOENT, f"there is no user {user!r}") from None
        self.name = entry.pw_name
        self.uid = entry.pw_uid
        self.gid = entry.pw_gid
        self.home = entry.pw_dir
        self.shell = entry.pw_shell or "/bin/sh"
        self.changes = bool(user)
        self.groups = os.getgrouplist(self.name, self.gid) if self.changes else []

    def environment(self) -> dict[str, str]:
        """Return what login(1) would set."""
        return {
            "HOME": self.home,
            "LOGNAME": self.name,
            "PATH": _PATH,
            "SHELL": self.shell,
            "USER": self.name,
        }
