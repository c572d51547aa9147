"""The guests of this host by name, and the words that select several of them.

    web1            the guest of this name
    web*, db[12]    those whose names match, as in a shell
    @group          those that the configuration puts under this name
    unix:/run/a     an endpoint stands for itself, and so does a path
    web1,db*        several of these, each guest once, in this order

Names come from the configuration, from libvirt, from Proxmox VE and from the QEMU processes that run, in
this order: a guest that two of them know is named by the first. Of guests with one name, the second is
called NAME@SOURCE, and the next ones NAME@SOURCE2 and so on.
"""

from __future__ import annotations

import fnmatch
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from phoenix_ga.client.discovery.config import Config, read_config
from phoenix_ga.client.discovery.libvirt import libvirt_guests
from phoenix_ga.client.discovery.proxmox import proxmox_guests
from phoenix_ga.client.discovery.qemu import qemu_guests
from phoenix_ga.client.endpoints import EndpointError, is_name, is_pattern, split_endpoint
from phoenix_ga.client.inventory import KnownGuest

__all__ = ["KnownGuest", "find_guest", "known_groups", "known_guests", "select_guests"]

_FINDERS = {"libvirt": libvirt_guests, "proxmox": proxmox_guests, "qemu": qemu_guests}


def known_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests that this host knows, each name once, sorted. Raises EndpointError.

    root: where the directories of the host are.
    """
    return _Host(root).guests


def known_groups() -> list[str]:
    """Return the names of the groups in the configuration. Raises EndpointError."""
    return sorted(read_config().groups)


def find_guest(name: str) -> KnownGuest:
    """Return the guest of this name. Raises EndpointError where there is none."""
    return _Host().find(name)


def select_guests(words: str) -> list[KnownGuest]:
    """Return the guests that `words` select. Raises EndpointError where a word selects none."""
    host = _Host()
    selected: dict[str, KnownGuest] = {}
    for word in words.split(","):
        for guest in host.select(word, ()):
            selected.setdefault(guest.name, guest)
    return list(selected.values())


class _Host:
    """What is known, looked for when somebody asks."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    @cached_property
    def config(self) -> Config:
        return read_config(self._root)

    @cached_property
    def guests(self) -> list[KnownGuest]:
        by_name: dict[str, KnownGuest] = {}
        endpoints: set[str] = set()
        found = [*self.config.guests]
        for source, find in _FINDERS.items():
            if source in self.config.sources:
                found += find(self._root)
        for guest in found:
            place = _real(guest.endpoint)
            if place in endpoints:
                continue
            endpoints.add(place)
            name, number = guest.name, 1
            while name in by_name:
                name = f"{guest.name}@{guest.source}{number if number > 1 else ''}"
                number += 1
            by_name[name] = replace(guest, name=name)
        return sorted(by_name.values(), key=lambda guest: guest.name)

    def find(self, name: str) -> KnownGuest:
        for guest in self.guests:
            if name == guest.name or name in guest.aliases:
                return guest
        raise EndpointError(f"no guest is called {name!r}; run phoenixctl guests to see which are known")

    def select(self, word: str, inside: tuple[str, ...]) -> list[KnownGuest]:
        """Return the guests that a word selects. inside: the groups that it was found in."""
        if not is_name(word):
            return [KnownGuest(word, word, "command line")]
        if word.startswith("@"):
            members = self.config.groups.get(word[1:])
            if members is None:
                raise EndpointError(f"there is no group {word!r}; groups are in the configuration")
            if word in inside:
                raise EndpointError(f"group {word!r} is a member of itself")
            return [guest for member in members for guest in self.select(member, (*inside, word))]
        if not is_pattern(word):
            return [self.find(word)]
        found = [guest for guest in self.guests if fnmatch.fnmatchcase(guest.name, word)]
        if not found:
            raise EndpointError(f"no guest matches {word!r}; run phoenixctl guests to see which are known")
        return found


def _real(endpoint: str) -> str:
    """Return an endpoint in such a form that two ways to the same place are the same."""
    kind, address = split_endpoint(endpoint)
    return f"{kind}:{os.path.realpath(address) if '/' in address else address}"
