"""From a name, an endpoint or a known guest to an open transport."""

from __future__ import annotations

import asyncio

from phoenix_ga.client.endpoints import is_name, is_remote_name, split_endpoint
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.hub_sockets import find_hub_socket
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.open_transport import open_transport
from phoenix_ga.client.transport import Transport, UnixTransport, open_unix_socket


async def open_endpoint(endpoint: str | KnownGuest, allow_tcp: bool = False, direct: bool = False) -> Transport:
    """Connect to an endpoint, or to a guest by its name, through a hub if one offers the guest.

    Args:
        endpoint: a name, an endpoint, or a known guest.
        allow_tcp: permit TCP, which is neither encrypted nor authenticated.
        direct: use the guest's own port in any case.

    Raises:
        EndpointError: the endpoint is malformed, unknown or not permitted.
        ConnectError: it cannot be opened, or another user listens on the socket of a guest that was found.
    """
    if isinstance(endpoint, str) and (is_name(endpoint) or is_remote_name(endpoint)):
        from phoenix_ga.client.discovery import find_guest

        through_hub = None if direct else await _open_through_hub(endpoint)
        if through_hub is not None:
            return through_hub
        endpoint = await asyncio.get_running_loop().run_in_executor(None, find_guest, endpoint)
    owners: tuple[int, ...] = ()
    if not isinstance(endpoint, str):
        through_hub = None if direct else await _open_through_hub(endpoint.name)
        if through_hub is not None:
            return through_hub
        allow_tcp = allow_tcp or endpoint.allow_tcp
        owners = endpoint.owners
        if endpoint.error:
            raise ConnectError(endpoint.error)
        endpoint = endpoint.endpoint
    kind, _ = split_endpoint(endpoint)
    if kind == "tcp" and not allow_tcp:
        raise EndpointError(
            f"endpoint {endpoint!r}: TCP is neither encrypted nor authenticated; permit it with --allow-tcp"
        )
    transport = await open_transport(endpoint)
    if owners and isinstance(transport, UnixTransport) and transport.peer_uid not in owners:
        await transport.close()
        raise ConnectError(
            f"{endpoint}: user {transport.peer_uid} listens on this socket, not the user that runs the guest"
        )
    return transport


async def _open_through_hub(name: str) -> Transport | None:
    """Connect to a guest through a hub; return None if none offers it, or if the hub has ended."""
    path = find_hub_socket(name)
    if path is None:
        return None
    try:
        return await open_unix_socket(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
