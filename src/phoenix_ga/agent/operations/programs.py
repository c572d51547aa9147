"""Running a program of the system until it ends, without its output."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal

_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def run_to_end(command: list[str]) -> int:
    """Run a program, by path or from the usual directories; return its exit status.

    127 if it does not exist, 126 if it could not be started, 128 if it was killed by a signal.
    """
    name = command[0]
    paths = [name] if "/" in name else [f"{directory}/{name}" for directory in _PATH]
    program = next((path for path in paths if os.access(path, os.X_OK)), "")
    if not program:
        return 127
    environment = {"PATH": ":".join(_PATH)}
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in range(3)]
        # Python ignores this signal, and children inherit that.
        process = os.posix_spawn(program, command, environment, file_actions=actions, setsigdef=[_signal.SIGPIPE])
    except OSError:
        return 126
    finally:
        os.close(nothing)
    _, status = os.waitpid(process, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128
