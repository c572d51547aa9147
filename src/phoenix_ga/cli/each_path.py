"""Do something with each GUEST:/PATH"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import always_ok
from phoenix_ga.cli.errors import complain, explain
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.paths import Place, guest_path
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
    """Do `work` with the path of each word, and show the results; return the exit status, that of the last failure.

    describe: turns a path and the result for it into a value for JSON and a text for readers. judge: returns
    the status that a result stands for. What fails for one path does not hold back the others; those of a
    guest that does not answer are left out. Each guest is connected to once. Of several guests, the highest
    status is returned.
    """
    places = [guest_path(word) for word in words]
    if all(is_plain(guest) for guest, _ in places):

        async def show(guest: Guest, path: str) -> int:
            result = await work(guest, path)
            options.show(*describe(path, result))
            return judge(result)

        return run(each_place(options, places, show))

    async def tell(guest: Guest, path: str, printer: GuestPrinter) -> int:
        result = await work(guest, path)
        await printer.result(*describe(path, result))
        return judge(result)

    return on_several(options, places, tell)


async def each_place(
    options: Options, places: list[Place], work: Callable[[Guest, str], Coroutine[Any, Any, int]]
) -> int:
    """Do `work` with each path, one after the other; return the last status that is not 0."""
    from phoenix_ga.client import GuestError, GuestRefused

    guests = {words: select_one(words) for words, _ in places}
    alone = len(places) == 1
    connected: dict[str, Guest] = {}
    silent: set[str] = set()
    worst = 0
    async with AsyncExitStack() as stack:
        for words, path in places:
            socket = socket_of(guests[words])
            if socket in silent:
                continue
            try:
                if socket not in connected:
                    connected[socket] = await stack.enter_async_context(options.connect_to(guests[words]))
                status = await work(connected[socket], path)
            except GuestError as error:
                if alone:
                    raise
                if not isinstance(error, GuestRefused):
                    silent.add(socket)
                status, text = explain(error)
                complain(text)
            worst = status or worst
    return worst


def on_several(
    options: Options, places: list[Place], work: Callable[[Guest, str, GuestPrinter], Coroutine[Any, Any, int]]
) -> int:
    """Do `work` with all paths of each guest, and with several guests at once; return the highest status."""
    from phoenix_ga.client import GuestRefused

    guests: dict[str, KnownGuest] = {}
    paths: dict[str, list[str]] = {}
    for words, path in places:
        for known in select(words):
            guests.setdefault(socket_of(known), known)
            paths.setdefault(socket_of(known), []).append(path)

    async def on_one(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        outcome = DONE
        async with options.connect_among(known) as guest:
            for path in paths[socket_of(known)]:
                try:
                    now = ended(await work(guest, path, printer))
                except GuestRefused as error:
                    now = outcome_of(error)
                    await printer.error(error, path=path)
                outcome = max(outcome, now, key=lambda each: each.status)
        return outcome

    return fan_out(options, list(guests.values()), on_one)
