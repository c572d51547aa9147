"""Turning guests off and on: what `shutdown`, `reboot` and `suspend` share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select, select_one
from phoenix_ga.cli.summary import DONE, Outcome

if TYPE_CHECKING:
    from phoenix_ga.cli.guest_printer import GuestPrinter
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

#: Seconds to wait, unless --timeout is given.
WAIT_TIME = 300.0
_PERIOD = 1.0
_ANSWER_TIME = 3.0

WAIT = click.option("--wait", is_flag=True, help=f"Wait until it is done; at most {WAIT_TIME:g} s, or --timeout.")

Condition = Callable[["KnownGuest", float], Awaitable[bool]]


def switch(
    options: Options, words: str, act: Callable[[Guest], Awaitable[None]], is_done: Condition | None, what: str
) -> int:
    """Act on each selected guest and, if `is_done` is given, wait until it returns true. what: is being done."""

    async def switch_one(known: KnownGuest, connecting: AbstractAsyncContextManager[Guest]) -> None:
        started = time.monotonic()
        async with connecting as guest:
            await act(guest)
        if is_done is not None:
            await _wait(known, is_done, started, options.timeout or WAIT_TIME, what)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        await switch_one(known, options.connect_among(known))
        return DONE

    if is_plain(words):
        known = select_one(words)
        run(switch_one(known, options.connect_to(known)))
        return 0
    return fan_out(options, select(words), on_one)


async def _wait(known: KnownGuest, is_done: Condition, started: float, timeout: float, what: str) -> None:
    import asyncio

    from phoenix_ga.client import GuestTimeoutError

    # No event on the host says that a guest has stopped answering, so it is asked once a second.
    while not await is_done(known, time.monotonic() - started):
        if time.monotonic() - started > timeout:
            raise GuestTimeoutError(f"{what} took longer than {timeout:g} s")
        await asyncio.sleep(_PERIOD)


async def is_off(known: KnownGuest, elapsed: float) -> bool:
    """Return whether the guest's agent does not answer any more."""
    from phoenix_ga.client.probe import ANSWERS, probe

    return (await probe(known, _ANSWER_TIME)).state != ANSWERS


async def has_rebooted(known: KnownGuest, elapsed: float) -> bool:
    """Return whether the guest answers and has booted since."""
    from phoenix_ga.client.probe import ANSWERS, probe

    state = await probe(known, _ANSWER_TIME)
    return state.state == ANSWERS and state.uptime is not None and state.uptime <= elapsed
