"""One request to each selected guest, with a result to print."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select
from phoenix_ga.cli.summary import Outcome, ended

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

Result = TypeVar("Result")


def always_ok(result: Any) -> int:
    """Return 0: every result is a success."""
    return 0


def ask(options: Options, guest: str, work: Callable[[Guest], Coroutine[Any, Any, Result]]) -> Result:
    """Connect to one guest, do `work` with it, and return its result."""

    async def connected() -> Result:
        async with options.connect(guest) as there:
            return await work(there)

    return run(connected())


def each_guest(
    options: Options,
    guests: str,
    work: Callable[[Guest], Coroutine[Any, Any, Result]],
    describe: Callable[[Result], tuple[Any, str]],
    judge: Callable[[Result], int] = always_ok,
) -> int:
    """Do `work` with each selected guest and print the results.

    Args:
        describe: Turns a result into a value for JSON and a text for people.
        judge: Returns the exit status for a result.

    Returns:
        The exit status; the highest if there are several guests.
    """
    if is_plain(guests):
        result = ask(options, guests, work)
        options.show(*describe(result))
        return judge(result)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as guest:
            result = await work(guest)
        await printer.result(*describe(result))
        return ended(judge(result))

    return fan_out(options, select(guests), on_one)
