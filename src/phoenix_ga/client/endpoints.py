"""The syntax of endpoints.

unix:PATH          a Unix socket, such as that of QEMU's `-chardev socket`
PATH               the same; a path contains a slash
vsock:CID[:PORT]   an agent that listens on vsock; the default port is 8383
pty:PATH           a terminal, such as that of QEMU's `-chardev pty`
tcp:HOST:PORT      TCP, neither encrypted nor authenticated
ssh:[USER@]HOST[:PORT]/GUEST   a guest of another host, through OpenSSH
libvirt:URI/DOMAIN the agent's channel of a domain, over any URI of libvirt, such as qemu+ssh://HOST/system
libvirt-force:...  the same; the channel is taken from another client that has it
exec:COMMAND       a program whose stdin and stdout are the port; its words are split as in a shell
NAME               a guest that `phoenix_ga.client.discovery` finds

In a PATH, `~` and `~USER` at the beginning are replaced by the home directory of the user.
"""

from __future__ import annotations

import os
from typing import Final

from phoenix_ga.client.errors import EndpointError

KINDS: Final = ("unix", "vsock", "tcp", "pty", "ssh", "exec", "libvirt", "libvirt-force")
#: These run a program, or connect to another host, which takes longer than a socket of this one.
SLOW_KINDS: Final = ("ssh", "exec", "libvirt", "libvirt-force")
#: Their addresses contain a URI.
LIBVIRT_KINDS: Final = ("libvirt", "libvirt-force")
VSOCK_PORT: Final = 8383
_PATTERN: Final = frozenset("*?[")
_PORT_MAX: Final = 65535
_UINT32_MAX: Final = 2**32 - 1


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """Return the kind of an endpoint and its address, with `~` expanded. Raises EndpointError, also for a name."""
    kind, colon, address = endpoint.partition(":")
    if colon and kind in KINDS:
        if not address or "\0" in address:
            raise EndpointError(f"endpoint {endpoint!r} has no valid address after {kind}:")
        if kind == "vsock":
            split_vsock(address)
        elif kind == "tcp":
            split_tcp(address)
        elif kind == "ssh":
            split_ssh(address)
        elif kind in LIBVIRT_KINDS:
            split_libvirt(address)
        elif kind in ("unix", "pty"):
            address = os.path.expanduser(address)
        return kind, address
    if "/" in endpoint and "\0" not in endpoint:
        return "unix", os.path.expanduser(endpoint)
    kinds = ", ".join(f"{kind}:" for kind in KINDS)
    raise EndpointError(f"endpoint {endpoint!r} is neither a path with a slash nor begins with {kinds}")


def split_vsock(address: str) -> tuple[int, int]:
    """Return the CID and the port of `CID[:PORT]`. Raises EndpointError."""
    cid, _, port = address.partition(":")
    endpoint = f"vsock:{address}"
    return _number(cid, _UINT32_MAX, endpoint), _number(port or str(VSOCK_PORT), _UINT32_MAX, endpoint)


def split_tcp(address: str) -> tuple[str, int]:
    """Return the host and the port of `HOST:PORT`. Raises EndpointError."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise EndpointError(f"endpoint 'tcp:{address}' needs brackets around an IPv6 address: tcp:[::1]:4000")
    if not host:
        raise EndpointError(f"endpoint 'tcp:{address}' is not of the form tcp:HOST:PORT")
    return host, _number(port, _PORT_MAX, f"tcp:{address}")


def split_ssh(address: str) -> tuple[str, int, str]:
    """Return destination, port and guest of `[USER@]HOST[:PORT]/GUEST`. Raises EndpointError."""
    place, _, guest = address.partition("/")
    if not guest.strip("/"):
        raise EndpointError(f"endpoint 'ssh:{address}' is not of the form ssh:[USER@]HOST[:PORT]/GUEST")
    return (*parse_host(place), guest)


def split_libvirt(address: str) -> tuple[str, str]:
    """Return URI and domain of `URI/DOMAIN`. Raises EndpointError."""
    uri, _, domain = address.rpartition("/")
    if ":" not in uri or not domain:
        raise EndpointError(f"endpoint 'libvirt:{address}' is not of the form libvirt:URI/DOMAIN")
    return uri, domain


def parse_host(text: str) -> tuple[str, int]:
    """Return destination and port, 0 for none, of `[USER@]HOST[:PORT]`. Raises EndpointError.

    An IPv6 address with a port is in brackets.
    """
    destination, colon, port = text.rpartition(":")
    if not colon or (":" in destination and not destination.endswith("]")):
        destination, port = text, "0"
    destination = destination.replace("[", "").replace("]", "")
    # ssh would take a dash for an option.
    if not destination or destination.startswith("-") or not destination.isprintable() or " " in destination:
        raise EndpointError(f"{text!r} is not of the form [USER@]HOST[:PORT]")
    return destination, _number(port, _PORT_MAX, f"ssh:{text}")


def _number(text: str, maximum: int, endpoint: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= maximum):
        raise EndpointError(f"endpoint {endpoint!r}: {text!r} is not a number from 0 to {maximum}")
    return int(text)


def is_name(endpoint: str) -> bool:
    """Return whether the text can only be the name of a guest."""
    return "/" not in endpoint and endpoint.partition(":")[0] not in KINDS


def is_pattern(word: str) -> bool:
    """Return whether a word is a shell pattern for names of guests, of this host or of others."""
    return (is_name(word) or is_remote_name(word)) and not _PATTERN.isdisjoint(word)


def is_remote_name(word: str) -> bool:
    """Return whether the text has the form HOST/GUEST; it may be a relative path as well."""
    host, slash, guest = word.partition("/")
    return (
        bool(slash and guest)
        and "/" not in guest
        and host not in ("", ".", "..")
        and ":" not in host
        and host[0] != "~"
    )
