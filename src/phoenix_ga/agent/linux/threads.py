"""Starting threads without `threading`, which would cost memory."""

from __future__ import annotations

from _thread import start_new_thread
from errno import EAGAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start_thread(function: Callable[[], object], purpose: str) -> None:
    """Run `function` on a new thread.

    Args:
        purpose: what the thread is for, for the error text.

    Raises:
        OSError: EAGAIN if the system has no thread left, see pthread_create(3).
    """
    try:
        start_new_thread(function, ())
    except RuntimeError:
        raise OSError(EAGAIN, f"no thread is left for {purpose}") from None
