"""Words of the form GUEST:/PATH, and how a verb goes through several of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phoenix_ga.cli.context import Options, nothing_wrong, run
from phoenix_ga.cli.errors import complain, explain
from phoenix_ga.cli.selection import is_plain, select, select_one, socket_of

if TYPE_CHECKING:
    from phoenix_ga.cli.tally import Outcome
    from phoenix_ga.cli.voice import Voice
    from phoenix_ga.client import Guest
    from phoenix_ga.client.discovery import KnownGuest

Result = TypeVar("Result")
Place = tuple[str, str]


def split_guest_path(word: str) -> Place | None:
    """Return the words for guests and the path of GUEST:PATH, or None where `word` is a local path.

    The path is absolute, so the first `:/` that does not stand behind an endpoint's kind is where it begins:
    what an endpoint is made of cannot hold `:/`, and the path can hold anything.
    """
    from phoenix_ga.client.endpoints import KINDS

    split = word.find(":/")
    while split >= 0 and word[:split].rpartition(",")[2] in KINDS:
        split = word.find(":/", split + 1)
    kind, colon, _ = word.partition(":")
    if colon and kind in KINDS and split <= len(kind) + 1:
        raise click.UsageError(f"{word} names no file; write {kind}:ADDRESS:/PATH/IN/THE/GUEST.")
    return (word[:split], word[split + 1 :]) if split > 0 else None


def guest_path(word: str) -> Place:
    """Return the words for guests and the path of GUEST:/PATH. Raises UsageError."""
    found = split_guest_path(word)
    if found is None:
        raise click.UsageError(f"{word} is not of the form GUEST:/PATH.")
    return found


def each_path(
    options: Options,
    words: tuple[str, ...],
    work: Callable[[Guest, str], Coroutine[Any, Any, Result]],
    describe: Callable[[str, Result], tuple[Any, str]],
    judge: Callable[[Result], int] = nothing_wrong,
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

    async def tell(guest: Guest, path: str, voice: Voice) -> int:
        result = await work(guest, path)
        await voice.result(*describe(path, result))
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
    options: Options, places: list[Place], work: Callable[[Guest, str, Voice], Coroutine[Any, Any, int]]
) -> int:
    """Do `work` with all paths of each guest, and with several guests at once; return the highest status."""
    from phoenix_ga.cli.tally import DONE, ended, outcome_of
    from phoenix_ga.client import GuestRefused

    guests: dict[str, KnownGuest] = {}
    paths: dict[str, list[str]] = {}
    for words, path in places:
        for known in select(words):
            guests.setdefault(socket_of(known), known)
            paths.setdefault(socket_of(known), []).append(path)

    async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
        outcome = DONE
        async with options.connect_among(known) as guest:
            for path in paths[socket_of(known)]:
                try:
                    now = ended(await work(guest, path, voice))
                except GuestRefused as error:
                    now = outcome_of(error)
                    await voice.error(error, path=path)
                outcome = max(outcome, now, key=lambda each: each.status)
        return outcome

    return options.fan_out(list(guests.values()), on_one)
