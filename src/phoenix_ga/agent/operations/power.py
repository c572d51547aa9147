"""Shutting down, rebooting and suspending the machine, by the system's own programs."""

from __future__ import annotations

import os
from errno import ENOTSUP

from phoenix_ga.agent.operations.programs import run_to_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SYSTEMD: Final = "/run/systemd/system"
_STATE: Final = "/sys/power/state"
# For each mode: the program for it, and the option of shutdown(8).
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
    """Shut down: switch off (`powerdown`), stop (`halt`) or restart (`reboot`).

    Raises ValueError for another mode, OSError if no program could start it.
    """
    if mode not in _ENDS:
        raise ValueError(mode)
    program, option = _ENDS[mode]
    command = [program] if os.access(program, os.X_OK) else ["/sbin/shutdown", "-h", option, "+0", _MESSAGE]
    if run_to_end(command) != 0:
        raise OSError(ENOTSUP, "child process has failed to shutdown")


def sleep(mode: str, root: str = "") -> None:
    """Suspend to disk (`disk`), to RAM (`ram`) or both (`hybrid`).

    root: prefix of the paths, for tests. Raises OSError; ENOTSUP if the mode is not supported.
    """
    verb, program, word = _SLEEPS[mode]
    if os.path.isdir(root + _SYSTEMD) and run_to_end(["systemctl", verb]) == 0:
        return
    if run_to_end([program]) == 0:
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
    except OSError as error:
        raise OSError(error.errno, f"child process has failed to suspend: {error.strerror}") from None
    finally:
        os.close(fd)
