"""Running a verb on the guests that GUEST selects, and printing the results."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import about_guest
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select, select_one
from phoenix_ga.cli.summary import Outcome, ended

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

Result = TypeVar("Result")


def always_ok(result: Any) -> int:
    """Return exit status 0 for any result."""
    return 0


def ask(options: Options, words: str, work: Callable[[Guest], Coroutine[Any, Any, Result]]) -> Result:
    """Connect to one guest, run `work` with it, and return its result."""
    known = select_one(words)

    async def connected() -> Result:
        with about_guest(known.name):
            async with options.connect_to(known) as guest:
                return await work(guest)

    return run(connected())


def each_guest(
    options: Options,
    words: str,
    work: Callable[[Guest], Coroutine[Any, Any, Result]],
    describe: Callable[[Result], tuple[Any, str]],
    judge: Callable[[Result], int] = always_ok,
) -> int:
    """Run `work` on each selected guest and print the results.

    Args:
        describe: Returns a value for JSON and a text for a result.
        judge: Returns the exit status for a result.

    Returns:
        The exit status; of several guests the highest.
    """
    if is_plain(words):
        result = ask(options, words, work)
        options.show(*describe(result))
        return judge(result)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        async with options.connect_among(known) as guest:
            result = await work(guest)
        await printer.result(*describe(result))
        return ended(judge(result))

    return fan_out(options, select(words), on_one)
