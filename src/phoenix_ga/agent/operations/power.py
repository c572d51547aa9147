"""Switching the machine off, starting it anew, and letting it sleep, by the programs that the system has for it."""

from __future__ import annotations

import os
from errno import ENOTSUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SYSTEMD: Final = "/run/systemd/system"
_STATE: Final = "/sys/power/state"
_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# For each way to end: the program that does nothing else, and the option of shutdown(8).
_ENDS: Final = {
    "powerdown": ("/sbin/poweroff", "-P"),
    "halt": ("/sbin/halt", "-H"),
    "reboot": ("/sbin/reboot", "-r"),
}
_MESSAGE: Final = "hypervisor initiated shutdown"
# For each way to sleep: the verb of systemctl, the program of pm-utils, and the word of /sys/power/state.
_SLEEPS: Final = {
    "disk": ("hibernate", "pm-hibernate", "disk"),
    "ram": ("suspend", "pm-suspend", "mem"),
    "hybrid": ("hybrid-sleep", "pm-suspend-hybrid", ""),
}


def shut_down(mode: str) -> None:
    """End what runs, and switch off (`powerdown`), stop (`halt`) or start anew (`reboot`).

    Raises ValueError for another mode, and OSError where no program could begin it.
    """
    if mode not in _ENDS:
        raise ValueError(mode)
    program, option = _ENDS[mode]
    command = [program] if os.access(program, os.X_OK) else ["/sbin/shutdown", "-h", option, "+0", _MESSAGE]
    if _run(command) != 0:
        raise OSError(ENOTSUP, "child process has failed to shutdown")


def sleep(mode: str, root: str = "") -> None:
    """Sleep with what is in memory on the disk (`disk`), in memory (`ram`) or both (`hybrid`).

    Raises OSError (ENOTSUP) where the system can't.
    """
    verb, program, word = _SLEEPS[mode]
    if os.path.isdir(_SYSTEMD) and _run(["systemctl", verb]) == 0:
        return
    if _run([program]) == 0:
        return
    try:
        with open(root + _STATE, encoding="ascii") as file:
            words = file.read().split()
    except OSError:
        words = []
    if not word or word not in words:
        raise OSError(ENOTSUP, "the requested suspend mode is not supported by the guest")
    fd = os.open(root + _STATE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, word.encode())
    finally:
        os.close(fd)


def _run(command: list[str]) -> int:
    """Run a program to its end, and return its exit status, 127 where it is not there."""
    name = command[0]
    paths = [name] if "/" in name else [f"{directory}/{name}" for directory in _PATH]
    program = next((path for path in paths if os.access(path, os.X_OK)), "")
    if not program:
        return 127
    environment = {"PATH": ":".join(_PATH)}
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in range(3)]
        process = os.posix_spawn(program, command, environment, file_actions=actions)
    except OSError:
        return 126
    finally:
        os.close(nothing)
    _, status = os.waitpid(process, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128
