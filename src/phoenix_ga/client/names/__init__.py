"""The guests of this host by name, and the words that select several of them.

web1            the guest of this name
web*, db[12]    those whose names match, as in a shell
@group          those that the configuration puts under this name
unix:/run/a     an endpoint stands for itself, and so does a path
web1,db*        several of these, each guest once, in this order
"""

from __future__ import annotations

import fnmatch

from phoenix_ga.client.endpoints import EndpointError
from phoenix_ga.client.names.config import Config, read_config
from phoenix_ga.client.names.known import KnownGuest

__all__ = ["KnownGuest", "known_guests", "select_guests"]

_PATTERN = frozenset("*?[")


def known_guests() -> list[KnownGuest]:
    """Return the guests that this host knows, each name once, sorted."""
    return _known(read_config())


def select_guests(words: str) -> list[KnownGuest]:
    """Return the guests that `words` select. Raises EndpointError where a word selects none."""
    config = read_config()
    known = _known(config)
    selected: dict[str, KnownGuest] = {}
    for word in words.split(","):
        for guest in _select(word, known, config, ()):
            selected.setdefault(guest.name, guest)
    return list(selected.values())


def _known(config: Config) -> list[KnownGuest]:
    return sorted(config.guests, key=lambda guest: guest.name)


def _select(word: str, known: list[KnownGuest], config: Config, inside: tuple[str, ...]) -> list[KnownGuest]:
    if "/" in word or ":" in word:
        return [KnownGuest(word, word, "command line")]
    if word.startswith("@"):
        members = config.groups.get(word[1:])
        if members is None or word in inside:
            raise EndpointError(f"there is no group {word!r} in the configuration")
        return [guest for member in members for guest in _select(member, known, config, (*inside, word))]
    if _PATTERN.isdisjoint(word):
        found = [guest for guest in known if guest.name == word]
    else:
        found = [guest for guest in known if fnmatch.fnmatchcase(guest.name, word)]
    if not found:
        raise EndpointError(f"no guest is called {word!r}; run phoenixctl guests to see which are known")
    return found
