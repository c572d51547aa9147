"""Becoming a daemon as qemu-ga does, with a pid file that two daemons cannot share."""

from __future__ import annotations

import fcntl
import os
from errno import EACCES, EAGAIN

from phoenix_ga.agent.config import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_READY: Final = b"0"


def detach(pid_file: str) -> Callable[[], None]:
    """Go on in a process of its own, without a terminal; return what tells that it is ready.

    The process that was started ends with 0 once that was told, and with 1 where the daemon ended
    before. Raises ConfigError where another daemon has the pid file.
    """
    ready, tell = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(ready, 1) == _READY else 1)
    os.close(ready)
    os.setsid()
    _write_pid(pid_file)
    os.chdir("/")

    def told() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        os.close(nothing)
        os.write(tell, _READY)
        os.close(tell)

    return told


def _write_pid(path: str) -> None:
    # It stays open, and so stays locked, for as long as the process lives.
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (EACCES, EAGAIN):
            raise ConfigError(f"cannot lock pid file {path}: another daemon runs") from None
        raise
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
