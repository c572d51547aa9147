"""Names of users and groups, as the guest's own databases have them (passwd(5), nsswitch.conf(5))."""

from __future__ import annotations

import grp
import os
import pwd
from errno import EINVAL

from phoenix_ga.agent.operations.files import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ID_DIGITS_MAX: Final = 10
ID_MAX: Final = 2**32 - 2


class Names:
    """Looks up the names of numeric owners, each once."""

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def user(self, uid: int) -> str:
        """Return the name of a user, empty if there is none."""
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = ""
        return self._users[uid]

    def group(self, gid: int) -> str:
        """Return the name of a group, empty if there is none."""
        if gid not in self._groups:
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._groups[gid] = ""
        return self._groups[gid]


def change_owner(path: str, uid: int, gid: int, user: str, group: str) -> None:
    """Set owner and group of a file, following symbolic links.

    uid, gid: -1: unchanged. user, group: names that replace the numbers, unless empty.
    """
    os.chown(encode_path(path), user_id(user) if user else uid, group_id(group) if group else gid)


def user_id(name: str) -> int:
    """Return the number of a user. Raises OSError (EINVAL) if there is none of this name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, UnicodeEncodeError):
        return _number(name, "user")


def group_id(name: str) -> int:
    """Return the number of a group. Raises OSError (EINVAL) if there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, UnicodeEncodeError):
        return _number(name, "group")


def _number(text: str, what: str) -> int:
    # int() also accepts signs, spaces and digits of other scripts.
    if text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX and int(text) <= ID_MAX:
        return int(text)
    raise OSError(EINVAL, f"there is no {what} {text[:100]!r}")
