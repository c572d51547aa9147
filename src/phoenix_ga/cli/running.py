"""Running a coroutine so that signals cancel it and it can clean up."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end. SIGINT, SIGTERM and SIGHUP cancel it.

    Raises:
        KeyboardInterrupt: After SIGINT.
        SystemExit: After SIGTERM and SIGHUP, with the status 128 and the signal's number.
    """
    import asyncio
    import signal

    received = signal.SIGINT

    async def cancellable() -> Result:
        task = asyncio.current_task()
        assert task is not None
        cancel = task.cancel

        def stop(number: signal.Signals) -> None:
            nonlocal received
            received = number
            cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup(1) ignores SIGHUP, and a shell SIGINT for background jobs; both stay ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                # Before Python 3.11, asyncio.run cancels all tasks on SIGINT, also those that clean-up needs.
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if received == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + received) from None
