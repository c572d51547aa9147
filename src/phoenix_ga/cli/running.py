"""Running a coroutine"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine. Ctrl-C cancels it; raises KeyboardInterrupt when it has cleaned up."""
    import asyncio
    import signal

    async def interruptible() -> Result:
        task = asyncio.current_task()
        assert task is not None
        # Before Python 3.11, asyncio.run cancels all tasks at once, those that clean-up needs included.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
