"""Events of people who log in and out."""

from __future__ import annotations

import os
from errno import ENOTSUP

from phoenix_ga.agent.linux import inotify
from phoenix_ga.agent.linux.source import READS_MAX, Source
from phoenix_ga.agent.operations.events.producer import Producer
from phoenix_ga.agent.operations.system import is_same_login, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.system import User

_WATCHED: Final = (
    # systemd-logind replaces and removes files.
    ("/run/systemd/sessions", inotify.IN_MOVED_TO | inotify.IN_CLOSE_WRITE | inotify.IN_DELETE),
    # login(1), sshd(8) and the like write entries into it.
    ("/run/utmp", inotify.IN_MODIFY),
)
_READ_SIZE: Final = 32768


class SessionChanges(Source):
    """Reports that the files which list sessions have changed. Raises OSError (ENOTSUP) if the guest has none.

    Args:
        root: A prefix of the paths.
    """

    def __init__(self, root: str = "") -> None:
        super().__init__(inotify.inotify_init())
        found = [inotify.inotify_add_watch(self.fd, os.fsencode(root + path), mask) for path, mask in _WATCHED]
        if not any(found):
            self.close()
            raise OSError(ENOTSUP, "the guest keeps no list of who is logged in")

    def read(self) -> tuple[list[Any], bool]:
        for _ in range(READS_MAX):
            try:
                os.read(self.fd, _READ_SIZE)
            except BlockingIOError:
                return [], False
        return [], True


class SessionProducer(Producer):
    """Compares who is logged in with who was before.

    Args:
        root: A prefix of the paths.
    """

    names = ("LOGIN", "LOGOUT")
    slow = True

    def __init__(self, root: str = "") -> None:
        self._root = root
        super().__init__(SessionChanges(root))
        try:
            self._users = users(root)
        except BaseException:
            self.source.close()
            raise

    def examine(self) -> list[tuple[str, dict[str, Any]]]:
        before, self._users = self._users, users(self._root)
        gone = [("LOGOUT", _data(user)) for user in before if not _is_among(user, self._users)]
        return gone + [("LOGIN", _data(user)) for user in self._users if not _is_among(user, before)]


def _is_among(user: User, others: list[User]) -> bool:
    # The two lists know different things of one login.
    return any(is_same_login(user, other) or is_same_login(other, user) for other in others)


def _data(user: User) -> dict[str, Any]:
    return {"user": user.name, "terminal": user.device, "host": user.host}
