"""The guests of this host by name, and the selection of several.

    web1            the guest with this name
    web*, db[12]    the guests whose names match a shell pattern
    vh1/web1        the guest of another host, which the configuration names
    */web*          guests of all other hosts
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from phoenix_ga.client.discovery.config import Config, read_config
from phoenix_ga.client.discovery.libvirt import libvirt_guests
from phoenix_ga.client.discovery.proxmox import proxmox_guests
from phoenix_ga.client.discovery.qemu import qemu_guests
from phoenix_ga.client.endpoints import is_name, is_pattern, is_remote_name, parse_host, split_endpoint
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.inventory import KnownGuest

__all__ = [
    "KnownGuest",
    "find_guest",
    "guests_by_host",
    "known_groups",
    "known_guests",
    "known_sources",
    "remote_guests",
    "select_guests",
]

_FINDERS = {"libvirt": libvirt_guests, "proxmox": proxmox_guests, "qemu": qemu_guests}


def known_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the guests of this host, sorted by name. Raises EndpointError.

    Args:
        root: the root directory of the host.
    """
    return _Host(root).guests


def remote_guests() -> list[KnownGuest]:
    """Return the guests of the other hosts in the configuration; a host that does not answer is one with an error."""
    host = _Host()
    return host.select_remote("*", "*")


def guests_by_host() -> Iterator[list[KnownGuest]]:
    """Yield the guests of this host, then those of each other host as it answers. Raises EndpointError."""
    host = _Host()
    names = list(host.config.hosts)
    if not names:
        yield host.guests
        return
    with ThreadPoolExecutor(max_workers=len(names)) as threads:
        listings = [threads.submit(host.list_host, name) for name in names]
        yield host.guests
        for listing in as_completed(listings):
            yield listing.result()


def known_groups() -> list[str]:
    """Return the names of the groups in the configuration. Raises EndpointError."""
    return sorted(read_config().groups)


def known_sources() -> tuple[str, ...]:
    """Return which sources of guests the configuration permits. Raises EndpointError."""
    return read_config().sources


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
        host, slash, remote = name.partition("/")
        if slash:
            # A host that is not known: a relative path.
            return self._remote(host, remote) if host in self.config.hosts else KnownGuest(name, name, "command line")
        for guest in self.guests:
            if name == guest.name or name in guest.aliases:
                return guest
        raise EndpointError(f"no guest is named {name!r}; list the guests with: phoenixctl guests")

    def select(self, word: str, inside: tuple[str, ...]) -> list[KnownGuest]:
        """Return the guests that an item selects. inside: the groups that contain it."""
        if is_remote_name(word):
            return self.select_remote(*word.split("/")) if is_pattern(word) else [self.find(word)]
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

    def select_remote(self, hosts: str, guests: str) -> list[KnownGuest]:
        """Return the guests of other hosts that match patterns. All hosts are asked at once."""
        names = [name for name in self.config.hosts if fnmatch.fnmatchcase(name, hosts)]
        if not names and self.config.hosts:
            raise EndpointError(f"no host matches {hosts!r}; hosts are defined in the configuration")
        if not is_pattern(guests):
            return [self._remote(name, guests) for name in names]
        with ThreadPoolExecutor(max_workers=max(len(names), 1)) as threads:
            listings = list(threads.map(self.list_host, names))
        return [
            guest
            for listing in listings
            for guest in listing
            if guest.error or fnmatch.fnmatchcase(guest.name.partition("/")[2], guests)
        ]

    def list_host(self, host: str) -> list[KnownGuest]:
        """Return the guests of another host, or one that says why it does not list them."""
        from phoenix_ga.client.ssh import SshHost, list_guests

        try:
            names = list_guests(SshHost(*parse_host(self.config.hosts[host])))
        except ConnectError as error:
            return [replace(self._remote(host, "*"), error=str(error))]
        return [self._remote(host, name) for name in names]

    def _remote(self, host: str, guest: str) -> KnownGuest:
        return KnownGuest(f"{host}/{guest}", f"ssh:{self.config.hosts[host]}/{guest}", host)


def _real(endpoint: str) -> str:
    """Return an endpoint in a canonical form."""
    kind, address = split_endpoint(endpoint)
    return f"{kind}:{os.path.realpath(address) if '/' in address else address}"
