"""GUEST: the words that select one guest, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest

# Of those that a message names, the first ones are enough to see what was selected.
_NAMED_MAX = 5


def is_plain(words: str) -> bool:
    """Tell whether `words` can mean one guest only: no list, no group, no pattern."""
    from phoenix_ga.client.endpoints import is_pattern

    return not ("," in words or words.startswith("@") or is_pattern(words))


def select(words: str) -> list[KnownGuest]:
    """Return the guests that `words` select. Raises EndpointError where a word selects none."""
    from phoenix_ga.client.discovery import select_guests

    found: dict[str, KnownGuest] = {}
    for guest in select_guests(words):
        # A port takes one client at a time: a second connection would wait for the first.
        found.setdefault(socket_of(guest), guest)
    return list(found.values())


def socket_of(guest: KnownGuest) -> str:
    """Return what is the same for all ways to write an endpoint."""
    return guest.endpoint.removeprefix("unix:")


def select_one(words: str) -> KnownGuest:
    """Return the guest that `words` select. Raises EndpointError, and UsageError where it is several."""
    found = select(words)
    if len(found) > 1:
        names = ", ".join(guest.name for guest in found[:_NAMED_MAX])
        more = ", ..." if len(found) > _NAMED_MAX else ""
        raise click.UsageError(f"This goes to one guest at a time, and {words} selects {len(found)}: {names}{more}.")
    return found[0]
