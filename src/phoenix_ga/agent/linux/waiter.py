"""The waiter: the small program that an idle agent becomes, `native/phoenix-wait.c`."""

from __future__ import annotations

import os
from errno import ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Final

    from typing_extensions import Never

# Where packages and `--install` put it.
INSTALLED: Final = "/usr/lib/phoenix-guest-agent/phoenix-wait"
# Relative to the modules of the agent: in the single-file agent, and in the build directory of a checkout.
_NAME: Final = f"phoenix-wait-{os.uname().machine}"
_BESIDE: Final = f"native/{_NAME}"
# The exit status of the waiter if its arguments are wrong.
_USAGE: Final = 2
_BUILT: Final = f"../../../build/native/{_NAME}"


def bundled_waiter() -> bytes | None:
    """Return the waiter that comes with these modules, or None if there is none for this machine."""
    directory = os.path.dirname(os.path.dirname(__file__))
    for place in (_BESIDE, _BUILT):
        try:
            # The loader, because the modules may be in an archive.
            data: bytes = __spec__.loader.get_data(os.path.join(directory, place))  # type: ignore[union-attr]
        except OSError:
            continue
        return data
    return None


def execute_waiter(arguments: Sequence[str], environment: Mapping[bytes, bytes]) -> Never:
    """Become the waiter.

    Args:
        arguments: Its arguments; the first is the name of the process.
        environment: Its environment.

    Raises:
        OSError: There is no waiter for this machine, or it cannot be executed.
    """
    failure = OSError(ENOENT, f"there is no phoenix-wait for {os.uname().machine}")
    for program in _programs():
        try:
            os.execve(program, ["phoenix-wait", *arguments], environment)
        except OSError as error:
            failure = error
            if isinstance(program, int):
                os.close(program)
    raise failure


def check_waiter() -> str:
    """Execute the waiter in a child process, which ends at once; return where it is, in words.

    Raises:
        OSError: There is no waiter for this machine, or it cannot be executed.
    """
    failure = OSError(ENOENT, f"there is no phoenix-wait for {os.uname().machine}")
    for program in _programs():
        path = program if isinstance(program, str) else f"/proc/self/fd/{program}"
        try:
            child = os.posix_spawn(path, ["phoenix-wait"], {})
            # Its complaint about missing arguments.
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _USAGE:
                return program if isinstance(program, str) else "a copy in memory"
        except OSError as error:
            failure = error
        finally:
            if isinstance(program, int):
                os.close(program)
    raise failure


def _programs() -> Iterator[str | int]:
    """Yield the path of the installed waiter, and a descriptor of the bundled one."""
    if os.path.exists(INSTALLED):
        yield INSTALLED
    data = bundled_waiter()
    if data is not None:
        fd = os.memfd_create("phoenix-wait", os.MFD_CLOEXEC)
        os.write(fd, data)
        yield fd
