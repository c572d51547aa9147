"""Words of the form GUEST:/PATH."""

from __future__ import annotations

import click

from phoenix_ga.cli.path_completion import complete_guest_path

Place = tuple[str, str]


PATHS = click.argument("paths", metavar="GUEST:/PATH...", nargs=-1, required=True, shell_complete=complete_guest_path)


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
