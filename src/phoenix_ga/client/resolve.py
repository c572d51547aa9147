"""From a name, an endpoint or a known guest to an open transport."""

from __future__ import annotations

import asyncio

from phoenix_ga.client.endpoints import is_name, split_endpoint
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.open_transport import open_transport
from phoenix_ga.client.transport import Transport, UnixTransport


async def open_endpoint(endpoint: str | KnownGuest, allow_tcp: bool = False) -> Transport:
    """Connect to an endpoint, or to a guest by its name.

    Args:
        endpoint: a name, an endpoint, or a known guest.
        allow_tcp: permit TCP, which is neither encrypted nor authenticated.

    Raises:
        EndpointError: the endpoint is malformed, unknown or not permitted.
        ConnectError: it cannot be opened, or another user listens on the socket of a guest that was found.
    """
    if isinstance(endpoint, str) and is_name(endpoint):
        from phoenix_ga.client.discovery import find_guest

        endpoint = await asyncio.get_running_loop().run_in_executor(None, find_guest, endpoint)
    owners: tuple[int, ...] = ()
    if not isinstance(endpoint, str):
        allow_tcp = allow_tcp or endpoint.allow_tcp
        owners = endpoint.owners
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
