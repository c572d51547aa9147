"""Running a verb on each GUEST:/PATH, and printing the results."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import always_ok
from phoenix_ga.cli.errors import about_guest, report
from phoenix_ga.cli.expansion import expand
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.paths import GuestPath, guest_path
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import is_plain, select, select_one, socket_of
from phoenix_ga.cli.summary import DONE, Outcome, ended, outcome_of

if TYPE_CHECKING:
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

Result = TypeVar("Result")


def each_path(
    options: Options,
    words: tuple[str, ...],
    work: Callable[[Guest, str], Coroutine[Any, Any, Result]],
    describe: Callable[[str, Result], tuple[Any, str]],
    judge: Callable[[Result], int] = always_ok,
) -> int:
    """Run `work` with each path and print the results.

    A failure does not stop the remaining paths, unless the guest does not answer.

    Args:
        describe: Returns a value for JSON and a text for a path and its result.
        judge: Returns the exit status for a result.

    Returns:
        The exit status of the last failure; of several guests the highest.
    """
    places = [guest_path(word) for word in words]
    if all(is_plain(guests) for guests, _ in places):

        async def show(guest: Guest, path: str) -> int:
            result = await work(guest, path)
            options.show(*describe(path, result))
            return judge(result)

        return run(each_place(options, places, show))

    async def print_result(guest: Guest, path: str, printer: GuestPrinter) -> int:
        result = await work(guest, path)
        await printer.result(*describe(path, result))
        return judge(result)

    return on_several(options, places, print_result)


async def each_place(
    options: Options, places: list[GuestPath], work: Callable[[Guest, str], Coroutine[Any, Any, int]]
) -> int:
    """Run `work` with each path in turn, with one connection for each guest; return the last failure's status.

    Patterns are expanded in the guest.
    """
    from phoenix_ga.client import CommandError, PhoenixError

    guests = {words: select_one(words) for words, _ in places}
    connected: dict[str, Guest] = {}
    unreachable: set[str] = set()
    status = 0

    @contextmanager
    def reported(known: KnownGuest, alone: bool) -> Iterator[None]:
        nonlocal status
        try:
            with about_guest(known.name):
                yield
        except PhoenixError as error:
            if alone:
                raise
            if not isinstance(error, CommandError):
                unreachable.add(socket_of(known))
            status = report(error)

    async with AsyncExitStack() as stack:
        for words, pattern in places:
            known = guests[words]
            socket = socket_of(known)
            paths: tuple[str, ...] = ()
            if socket not in unreachable:
                with reported(known, len(places) == 1):
                    if socket not in connected:
                        connected[socket] = await stack.enter_async_context(options.connect_to(known))
                    paths = await expand(connected[socket], pattern)
            for path in paths:
                if socket not in unreachable:
                    with reported(known, len(places) == len(paths) == 1):
                        status = await work(connected[socket], path) or status
    return status


def on_several(
    options: Options, places: list[GuestPath], work: Callable[[Guest, str, GuestPrinter], Coroutine[Any, Any, int]]
) -> int:
    """Run `work` with all paths of each guest, the guests in parallel; return the highest exit status."""
    from phoenix_ga.client import CommandError

    guests: dict[str, KnownGuest] = {}
    paths: dict[str, list[str]] = {}
    for words, path in places:
        for known in select(words):
            guests.setdefault(socket_of(known), known)
            paths.setdefault(socket_of(known), []).append(path)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        outcome = DONE
        async with options.connect_among(known) as guest:
            for path in [path for each in paths[socket_of(known)] for path in await expand(guest, each)]:
                try:
                    now = ended(await work(guest, path, printer))
                except CommandError as error:
                    now = outcome_of(error)
                    await printer.error(error, path=path)
                outcome = max(outcome, now, key=lambda each: each.status)
        return outcome

    return fan_out(options, list(guests.values()), on_one)
