"""Becoming a daemon as qemu-ga does, with a locked pid file."""

from __future__ import annotations

import fcntl
import os
from errno import EACCES, EAGAIN

from phoenix_ga.agent.options.option import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_READY: Final = b"0"


def detach(pid_file: str) -> Callable[[], None]:
    """Continue in a child process, in a session of its own.

    Returns:
        The function to call when the daemon is ready. The parent exits with 0 then, or with 1 if the daemon
        exits before.

    Raises:
        ConfigError: another daemon has locked the pid file.
    """
    ready, report = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(report)
        os._exit(0 if os.read(ready, 1) == _READY else 1)
    os.close(ready)
    os.setsid()
    _write_pid(pid_file)
    os.chdir("/")

    def on_ready() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        os.close(nothing)
        os.write(report, _READY)
        os.close(report)

    return on_ready


def _write_pid(path: str) -> None:
    # Stays open, and so locked, while the process lives.
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (EACCES, EAGAIN):
            raise ConfigError(f"cannot lock pid file {path}: another daemon is running") from None
        raise
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
