"""Words of the form GUEST:/PATH, and how a verb goes through several of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.copy import split_guest_path
from phoenix_ga.cli.errors import complain, explain

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

Result = TypeVar("Result")


def guest_path(word: str) -> tuple[str, str]:
    """Return endpoint and path of GUEST:/PATH. Raises UsageError."""
    found = split_guest_path(word)
    if found is None:
        raise click.UsageError(f"{word} is not of the form GUEST:/PATH.")
    return found


def each_path(
    options: Options,
    words: tuple[str, ...],
    work: Callable[[Guest, str], Coroutine[Any, Any, Result]],
    describe: Callable[[str, Result], tuple[Any, str]],
) -> int:
    """Do `work` with the path of each word, and show the results; return the exit status, that of the last failure.

    describe: turns a path and the result for it into a value for JSON and a text for readers. What fails
    for one path does not hold back the others; those of a guest that does not answer are left out.
    """
    from phoenix_ga.client import GuestError, GuestRefused

    places = [guest_path(word) for word in words]
    alone = len(places) == 1
    silent: set[str] = set()
    worst = 0
    for endpoint, path in places:
        if endpoint in silent:
            continue

        async def with_path(guest: Guest, path: str = path) -> tuple[str, Result]:
            return path, await work(guest, path)

        try:
            status = options.each(endpoint, with_path, lambda found: describe(*found))
        except GuestError as error:
            if alone:
                raise
            if not isinstance(error, GuestRefused):
                silent.add(endpoint)
            status, text = explain(error)
            complain(text)
        worst = status or worst
    return worst
