"""The guests of this host by name, and the selection of several.

    web1            the guest with this name
    web*, db[12]    the guests whose names match a shell pattern
    @group          the guests of a group in the configuration
    unix:/run/a     an endpoint or a path
    web1,db*        several of these, each guest once, in this order

Guests are looked up in the configuration, libvirt, Proxmox VE and the running QEMU processes, in this order; the
first source that knows a guest names it. If several guests have the same name, the second is called NAME@SOURCE,
and the next ones NAME@SOURCE2 and so on.
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
from phoenix_ga.client.endpoints import is_name, is_pattern, split_endpoint
from phoenix_ga.client.errors import EndpointError
from phoenix_ga.client.inventory import KnownGuest

__all__ = ["KnownGuest", "find_guest", "known_groups", "known_guests", "select_guests"]

_FINDERS = {"libvirt": libvirt_guests, "proxmox": proxmox_guests, "qemu": qemu_guests}


def known_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests of this host, sorted by name. Raises EndpointError.

    Args:
        root: the root directory of the host.
    """
    return _Host(root).guests


def known_groups() -> list[str]:
    """Return the names of the groups in the configuration. Raises EndpointError."""
    return sorted(read_config().groups)


def find_guest(name: str) -> KnownGuest:
    """Return the guest with this name. Raises EndpointError."""
    return _Host().find(name)


def select_guests(words: str) -> list[KnownGuest]:
    """Return the guests that a comma-separated list selects. Raises EndpointError if an item selects none."""
    host = _Host()
    selected: dict[str, KnownGuest] = {}
    for word in words.split(","):
        for guest in host.select(word, ()):
            selected.setdefault(guest.name, guest)
    return list(selected.values())


class _Host:
    """The guests of a host, looked up on first use."""

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
        raise EndpointError(f"no guest is named {name!r}; list the guests with: phoenixctl guests")

    def select(self, word: str, inside: tuple[str, ...]) -> list[KnownGuest]:
        """Return the guests that an item selects. inside: the groups that contain it."""
        if not is_name(word):
            return [KnownGuest(word, word, "command line")]
        if word.startswith("@"):
            members = self.config.groups.get(word[1:])
            if members is None:
                raise EndpointError(f"no group is named {word!r}; groups are defined in the configuration")
            if word in inside:
                raise EndpointError(f"group {word!r} is a member of itself")
            return [guest for member in members for guest in self.select(member, (*inside, word))]
        if not is_pattern(word):
            return [self.find(word)]
        found = [guest for guest in self.guests if fnmatch.fnmatchcase(guest.name, word)]
        if not found:
            raise EndpointError(f"no guest matches {word!r}; list the guests with: phoenixctl guests")
        return found


def _real(endpoint: str) -> str:
    """Return an endpoint in a canonical form."""
    kind, address = split_endpoint(endpoint)
    return f"{kind}:{os.path.realpath(address) if '/' in address else address}"
