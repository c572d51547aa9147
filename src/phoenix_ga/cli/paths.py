"""Words of the form GUEST:/PATH."""

from __future__ import annotations

import click

# The words that select guests, and the path in them.
GuestPath = tuple[str, str]


def split_guest_path(word: str) -> GuestPath | None:
    """Return the two parts of GUEST:/PATH, or None if `word` is a local path.

    The path is absolute, so it begins at the first `:/` that does not follow the kind of an endpoint: no endpoint
    contains `:/`, except for the `://` of libvirt's URIs.
    """
    from phoenix_ga.client.endpoints import KINDS, LIBVIRT_KINDS

    kind, colon, _ = word.partition(":")
    in_uri = "://" if kind in LIBVIRT_KINDS else None
    split = word.find(":/")
    while split >= 0 and (word[:split].rpartition(",")[2] in KINDS or word[split : split + 3] == in_uri):
        split = word.find(":/", split + 1)
    if colon and kind in KINDS and split <= len(kind) + 1:
        raise click.UsageError(f"{word}: the path in the guest must be absolute: {kind}:ADDRESS:/PATH.")
    return (word[:split], word[split + 1 :]) if split > 0 else None


def guest_path(word: str) -> GuestPath:
    """Return the two parts of GUEST:/PATH. Raises UsageError if it has another form."""
    found = split_guest_path(word)
    if found is None:
        guest, colon, _ = word.partition(":")
        if colon and guest:
            raise click.UsageError(f"{word}: the path in the guest must be absolute: {guest}:/PATH.")
        raise click.UsageError(f"{word} is not of the form GUEST:/PATH.")
    return found
