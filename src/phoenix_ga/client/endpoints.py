"""Endpoints: the words that say where a guest is.

    unix:PATH          a Unix socket, such as the one of QEMU's chardev
    PATH               the same; a path has a slash in it, to tell it from a name
    vsock:CID[:PORT]   an agent that listens on vsock, on port 8383 where none is given
    pty:PATH           a terminal, such as the one of QEMU's `-chardev pty`
    tcp:HOST:PORT      TCP, which anybody on the way can read and change: only where it is asked for
    NAME               a guest that is known by its name, as `phoenix_ga.client.discovery` finds it

A kind of endpoint is a row in `KINDS`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from phoenix_ga.client.errors import ConnectFailed
from phoenix_ga.client.transport import Transport, open_tcp, open_unix_socket, open_vsock

if TYPE_CHECKING:
    from phoenix_ga.client.inventory import KnownGuest

VSOCK_PORT: Final = 8383
_PATTERN: Final = frozenset("*?[")
_PORT_MAX: Final = 65535
_UINT32_MAX: Final = 2**32 - 1


class EndpointError(ValueError):
    """These words say nowhere."""


async def _open_unix(path: str) -> Transport:
    try:
        return await open_unix_socket(path)
    except OSError as error:
        raise ConnectFailed(f"{path}: {_unix_advice(error)}") from error


def _unix_advice(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such socket; is the guest running, and is this the path of its port?"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens on this socket; is the guest running?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "you may not connect; try it as root or as the user that runs the guest"
    if error.errno == errno.EAGAIN:
        return "too many clients wait for this socket; end the one that has it"
    return error.strerror or str(error)


async def _open_vsock(address: str) -> Transport:
    cid, port = _split_vsock(address)
    try:
        return await open_vsock(cid, port)
    except OSError as error:
        advice = {
            errno.ENODEV: "there is no guest with this CID; is it running, and has it a vsock device?",
            errno.ETIMEDOUT: "no guest with this CID answers; is it running?",
            errno.ECONNRESET: "nobody listens on this port; has the agent vsock:PORT among its ports?",
            errno.EAFNOSUPPORT: "this host has no vsock; load the module vhost_vsock",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ConnectFailed(f"vsock:{address}: {advice}") from error


async def _open_tcp(address: str) -> Transport:
    host, port = _split_tcp(address)
    try:
        return await open_tcp(host, port)
    except OSError as error:
        # asyncio puts all that it has tried into the text.
        raise ConnectFailed(f"tcp:{address}: {os.strerror(error.errno) if error.errno else error}") from error


async def _open_pty(path: str) -> Transport:
    from phoenix_ga.client.pty import open_pty

    try:
        return await open_pty(path)
    except OSError as error:
        advice = {
            errno.EBUSY: "another program has it for itself; end that one",
            errno.ENOTTY: "it is no terminal",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ConnectFailed(f"{path}: {advice}") from error


KINDS: Final[dict[str, Callable[[str], Awaitable[Transport]]]] = {
    "unix": _open_unix,
    "vsock": _open_vsock,
    "tcp": _open_tcp,
    "pty": _open_pty,
}


def _split_vsock(address: str) -> tuple[int, int]:
    cid, _, port = address.partition(":")
    return _number(cid, _UINT32_MAX, f"vsock:{address}"), _number(
        port or str(VSOCK_PORT), _UINT32_MAX, f"vsock:{address}"
    )


def _split_tcp(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise EndpointError(f"endpoint 'tcp:{address}' needs brackets around an IPv6 address: tcp:[::1]:4000")
    if not host:
        raise EndpointError(f"endpoint 'tcp:{address}' is not of the form tcp:HOST:PORT")
    return host, _number(port, _PORT_MAX, f"tcp:{address}")


def _number(text: str, maximum: int, endpoint: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= maximum):
        raise EndpointError(f"endpoint {endpoint!r}: {text!r} is no number up to {maximum}")
    return int(text)


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """Return the kind of an endpoint and its address. Raises EndpointError, for a name as well."""
    kind, colon, address = endpoint.partition(":")
    if colon and kind in KINDS:
        if not address or "\0" in address:
            raise EndpointError(f"endpoint {endpoint!r} lacks what follows {kind}:")
        if kind == "vsock":
            _split_vsock(address)
        elif kind == "tcp":
            _split_tcp(address)
        return kind, address
    if "/" in endpoint and "\0" not in endpoint:
        return "unix", endpoint
    kinds = ", ".join(f"{kind}:" for kind in KINDS)
    raise EndpointError(f"endpoint {endpoint!r} is neither a path with a slash nor begins with {kinds}")


def is_name(endpoint: str) -> bool:
    """Tell whether these words can only be the name of a guest."""
    return "/" not in endpoint and endpoint.partition(":")[0] not in KINDS


def is_pattern(word: str) -> bool:
    """Tell whether a word stands for all guests whose names match it, as in a shell."""
    return is_name(word) and not _PATTERN.isdisjoint(word)


async def open_endpoint(endpoint: str | KnownGuest, allow_tcp: bool = False) -> Transport:
    """Connect to an endpoint, or to a guest by its name. Raises EndpointError and ConnectFailed.

    allow_tcp: connect by TCP as well, which nothing protects on its way.
    """
    if isinstance(endpoint, str) and is_name(endpoint):
        from phoenix_ga.client.discovery import find_guest

        endpoint = await asyncio.get_running_loop().run_in_executor(None, find_guest, endpoint)
    if not isinstance(endpoint, str):
        allow_tcp = allow_tcp or endpoint.allow_tcp
        endpoint = endpoint.endpoint
    kind, address = split_endpoint(endpoint)
    if kind == "tcp" and not allow_tcp:
        raise EndpointError(
            f"endpoint {endpoint!r}: whoever is on the way can read and change what goes over TCP; "
            "where that is fine, say so with --allow-tcp"
        )
    return await KINDS[kind](address)
