"""Opening a transport to an endpoint, with advice in the error text if that fails."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Awaitable, Callable
from typing import Final

from phoenix_ga.client.endpoints import split_endpoint, split_tcp, split_vsock
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.transport import Transport, open_tcp, open_unix_socket, open_vsock


async def open_transport(endpoint: str) -> Transport:
    """Connect to an endpoint that is not a name. Raises EndpointError and ConnectError."""
    kind, address = split_endpoint(endpoint)
    open_kind, prefix, advice = _KINDS[kind]
    try:
        return await open_kind(address)
    except OSError as error:
        # asyncio puts all addresses that it tried into the text.
        reason = os.strerror(error.errno) if error.errno else str(error)
        text = f"{prefix}{address}: {advice.get(error.errno or 0, reason)}"
        raise ConnectError(text, errno=error.errno) from error


async def _open_vsock(address: str) -> Transport:
    return await open_vsock(*split_vsock(address))


async def _open_tcp(address: str) -> Transport:
    return await open_tcp(*split_tcp(address))


async def _open_pty(path: str) -> Transport:
    from phoenix_ga.client.pty import open_pty

    return await open_pty(path)


async def _open_ssh(address: str) -> Transport:
    from phoenix_ga.client.ssh import open_ssh

    return await open_ssh(address)


async def _open_exec(command: str) -> Transport:
    from phoenix_ga.client.program_transport import open_program

    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise EndpointError(f"endpoint 'exec:{command}': {error}") from None
    return await open_program(argv, argv[0])


async def _open_libvirt(address: str) -> Transport:
    from phoenix_ga.client.libvirt_channel import open_libvirt

    return await open_libvirt(address)


async def _take_libvirt(address: str) -> Transport:
    from phoenix_ga.client.libvirt_channel import open_libvirt

    return await open_libvirt(address, force=True)


_PERMISSION: Final = "permission denied; try as root or as the user that runs the guest"

# How to open each kind of endpoint, what precedes its address in messages, and advice by errno.
_KINDS: Final[dict[str, tuple[Callable[[str], Awaitable[Transport]], str, dict[int, str]]]] = {
    "unix": (
        open_unix_socket,
        "",
        {
            errno.ENOENT: "no such socket; is the guest running, and is this the path of its port?",
            errno.ECONNREFUSED: "no program listens on this socket; is the guest running?",
            errno.EACCES: _PERMISSION,
            errno.EPERM: _PERMISSION,
            errno.EAGAIN: "too many clients wait for this socket; stop the one that uses it",
        },
    ),
    "vsock": (
        _open_vsock,
        "vsock:",
        {
            errno.ENODEV: "no guest has this CID; is it running, and does it have a vsock device?",
            errno.ETIMEDOUT: "no answer from this CID; is the guest running?",
            errno.ECONNRESET: "the agent does not listen on this port; is vsock:PORT one of its ports?",
            errno.EAFNOSUPPORT: "this host has no vsock; load the kernel module vhost_vsock",
        },
    ),
    "tcp": (_open_tcp, "tcp:", {}),
    "ssh": (_open_ssh, "ssh:", {errno.ENOENT: "ssh is not installed"}),
    "libvirt": (_open_libvirt, "libvirt:", {}),
    "libvirt-force": (_take_libvirt, "libvirt-force:", {}),
    "exec": (_open_exec, "exec:", {errno.ENOENT: "there is no such program"}),
    "pty": (
        _open_pty,
        "",
        {errno.EBUSY: "another program uses this terminal; stop it", errno.ENOTTY: "not a terminal"},
    ),
}
