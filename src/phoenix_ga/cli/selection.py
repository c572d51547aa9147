"""GUEST: the words that select one guest or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest

# Guests named in a message.
_NAMED_MAX = 5


def is_plain(words: str) -> bool:
    """Return whether `words` can select one guest only: no list, group or pattern."""
    from phoenix_ga.client.endpoints import is_pattern

    return not ("," in words or words.startswith("@") or is_pattern(words))


def select(words: str) -> list[KnownGuest]:
    """Return the selected guests, each port once. Raises EndpointError if a word selects none."""
    from phoenix_ga.client.discovery import select_guests

    found: dict[str, KnownGuest] = {}
    for guest in select_guests(words):
        # A port takes one client at a time, so a second connection would block.
        found.setdefault(socket_of(guest), guest)
    return list(found.values())


def socket_of(guest: KnownGuest) -> str:
    """Return the guest's endpoint, the same for `unix:PATH` and `PATH`."""
    return guest.endpoint.removeprefix("unix:")


def select_one(words: str) -> KnownGuest:
    """Return the selected guest. Raises EndpointError if there is none, UsageError if there are several."""
    found = select(words)
    if len(found) > 1:
        names = ", ".join(guest.name for guest in found[:_NAMED_MAX])
        more = ", ..." if len(found) > _NAMED_MAX else ""
        raise click.UsageError(
            f"This works with one guest at a time, but {words} selects {len(found)}: {names}{more}."
        )
    return found[0]
