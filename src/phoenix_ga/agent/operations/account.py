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
# Variables for all logins: pam_env(8), then the locale of Debian and of systemd. The last one wins.
_ENVIRONMENT_FILES: Final = ("/etc/environment", "/etc/default/locale", "/etc/locale.conf")
# A larger file is not one of these.
_FILE_MAX: Final = 64 * 1024
# Runtime directories of users who are logged in, or lingering, see pam_systemd(8).
_RUNTIME_DIRECTORIES: Final = "/run/user"


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
        """Return what a login would set. Reads files."""
        variables = {"PATH": _PATH}
        for path in _ENVIRONMENT_FILES:
            variables.update(_read_variables(path))
        runtime_directory = f"{_RUNTIME_DIRECTORIES}/{self.uid}"
        try:
            if os.stat(runtime_directory).st_uid == self.uid:
                variables["XDG_RUNTIME_DIR"] = runtime_directory
        except OSError:
            pass
        variables.update(HOME=self.home, LOGNAME=self.name, SHELL=self.shell, USER=self.name)
        return variables


def _find(user: str) -> pwd.struct_passwd | None:
    """Return the entry of a user; None for a number that has none. Raises OSError (ENOENT)."""
    is_number = user.isascii() and user.isdecimal() and len(user) <= len(str(ID_MAX)) and int(user) <= ID_MAX
    try:
        return pwd.getpwuid(int(user)) if is_number else pwd.getpwnam(user)
    except (KeyError, UnicodeEncodeError):
        if is_number:
            return None
        raise OSError(ENOENT, f"there is no user {user!r}") from None


def _read_variables(path: str) -> dict[str, str]:
    """Return the assignments in a file, as pam_env(8) reads /etc/environment; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_FILE_MAX)
    except OSError:
        return {}
    variables = {}
    for line in text.splitlines():
        words = line.split("#")[0].strip()
        if words.startswith("export "):
            words = words[len("export ") :].lstrip()
        name, assigned, value = words.partition("=")
        if not assigned or not name.isidentifier() or not name.isascii() or "\0" in value:
            continue
        if value[:1] in ("'", '"'):
            value = value[1:].rstrip(value[0])
        variables[name] = value
    return variables
