"""Starting threads without `threading`, which would cost memory, and the signals that none of them handles."""

from __future__ import annotations

from _thread import start_new_thread
from errno import EAGAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any, Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

# The signals to the agent. If only its first thread takes them, that thread can block them without losing one.
AGENT_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def start_thread(function: Callable[..., object], purpose: str, *arguments: Any) -> None:
    """Run `function` on a new thread, which handles no AGENT_SIGNALS.

    Args:
        purpose: what the thread is for, for the error text.

    Raises:
        OSError: EAGAIN if the system has no thread left, see pthread_create(3).
    """
    try:
        start_new_thread(_run, (function, arguments))
    except RuntimeError:
        raise OSError(EAGAIN, f"no thread is left for {purpose}") from None


def block_agent_signals() -> None:
    """Leave AGENT_SIGNALS pending for this thread, and for what the process executes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, AGENT_SIGNALS)


def unblock_agent_signals() -> None:
    """Undo `block_agent_signals`, also in the program that was executed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AGENT_SIGNALS)


def _run(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    block_agent_signals()
    function(*arguments)
