"""Parking: an agent without work becomes the waiter, which becomes the agent again when something happens.

What the agent must know afterwards is passed in an environment variable, and its descriptors stay open.
"""

from __future__ import annotations

import os
import sys
from errno import EBUSY

from phoenix_ga.agent.linux.threads import block_agent_signals, unblock_agent_signals
from phoenix_ga.agent.linux.waiter import execute_waiter
from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.ports.port import Parked

VARIABLE: Final = "PHOENIX_GA_PARKED"


def take_parked_state() -> dict[str, Any] | None:
    """Return what this process knew when it parked, or None if it did not."""
    text = os.environ.pop(VARIABLE, None)
    try:
        state = None if text is None else decode_json(text.encode("ascii"))
    except (JsonError, UnicodeError):
        return None
    # A variable of a parent process means nothing.
    return state if isinstance(state, dict) and state.get("pid") == os.getpid() else None


def is_alone(threads: int) -> bool:
    """Return whether this process has no child, and besides its first thread only so many that are idle.

    Another one may be stuck in the kernel, where it would block execve(2).
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1 + threads:
            return False
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    except OSError:
        # There is no /proc.
        pass
    return False


def park(loop: Loop, ports: Iterable[Parked], state: dict[str, Any]) -> None:
    """Become the waiter, unless there is work after all.

    Args:
        loop: Must not have work.
        ports: What to wait for.
        state: What `take_parked_state` returns afterwards, as JSON.

    Raises:
        OSError: The waiter cannot be executed; nothing has changed.
    """
    if not sys.executable:
        raise OSError(EBUSY, "the path of the Python interpreter is unknown")
    with open("/proc/self/environ", "rb") as file:
        # That of the start, in which systemd says which socket it passed.
        variables = (item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
        environment = {name: value for name, value in variables if name != VARIABLE.encode()}
    with open("/proc/self/comm") as file:
        name = file.read().strip()
    environment[VARIABLE.encode()] = encode_json({**state, "pid": os.getpid()})
    descriptors = [port.fd for port in ports]
    marked = [f"{port.fd}h" if port.hung_up else str(port.fd) for port in ports]
    block_agent_signals()
    try:
        if loop.has_work:
            return
        for fd in descriptors:
            os.set_inheritable(fd, True)
        execute_waiter([name, *marked, "--", sys.executable, *_command()], environment)
    finally:
        # The agent stays awake.
        for fd in descriptors:
            os.set_inheritable(fd, False)
        unblock_agent_signals()


def _command() -> list[str]:
    """Return the arguments that start this program again from its beginning: it may be upgraded meanwhile."""
    archive = os.path.dirname(sys.path[0])
    if os.path.isfile(archive):
        return [sys.executable, "-ISB", archive, *sys.argv[1:]]
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read()[:-1].split(b"\0")]
