"""Endpoints: the words that say where a guest is.

    unix:PATH    a Unix socket, such as the one of QEMU's chardev
    PATH         the same; a path has a slash in it, to tell it from a name

A kind of endpoint is a row in `KINDS`.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Final

from phoenix_ga.client.errors import ConnectFailed
from phoenix_ga.client.transport import Transport, open_unix_socket


class EndpointError(ValueError):
    """These words say nowhere."""


async def _open_unix(path: str) -> Transport:
    try:
        return await open_unix_socket(path)
    except OSError as error:
        raise ConnectFailed(f"{path}: {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such socket; is the guest running, and is this the path of its port?"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens on this socket; is the guest running?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "you may not connect; try it as root or as the user that runs the guest"
    if error.errno == errno.EAGAIN:
        return "too many clients wait for this socket; end the one that has it"
    return error.strerror or str(error)


KINDS: Final[dict[str, Callable[[str], Awaitable[Transport]]]] = {
    "unix": _open_unix,
}


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """Return the kind of an endpoint and its address. Raises EndpointError."""
    kind, colon, address = endpoint.partition(":")
    if colon and kind in KINDS:
        if not address or "\0" in address:
            raise EndpointError(f"endpoint {endpoint!r} lacks what follows {kind}:")
        return kind, address
    if "/" in endpoint and "\0" not in endpoint:
        return "unix", endpoint
    raise EndpointError(f"endpoint {endpoint!r} is neither unix:PATH nor a path with a slash")


async def open_endpoint(endpoint: str) -> Transport:
    """Connect to an endpoint. Raises EndpointError and ConnectFailed."""
    kind, address = split_endpoint(endpoint)
    return await KINDS[kind](address)
