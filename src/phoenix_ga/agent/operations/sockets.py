"""Connections to sockets of the guest, and listening there."""

from __future__ import annotations

# The module `socket` would load much that is not needed here.
import _socket as socket
import errno
import os

from phoenix_ga.agent.operations.files import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_TYPE: Final = socket.SOCK_STREAM | socket.SOCK_CLOEXEC
_BACKLOG: Final = 64


def connect_tcp(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of `host` that answers. timeout: of each, in seconds.

    Returns a non-blocking socket. Raises OSError, EADDRNOTAVAIL where the name is unknown.
    """
    problem = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, _, _, _, address in _addresses(host, port):
        connection = socket.socket(family, _TYPE)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            number = errno.ETIMEDOUT if isinstance(error, socket.timeout) else error.errno or errno.EIO
            problem = OSError(number, f"{address[0]} port {port}: {os.strerror(number)}")
            continue
        connection.setblocking(False)
        return connection
    raise problem


def connect_unix(path: str, timeout: float) -> socket.socket:
    """Connect to a Unix socket. timeout: in seconds. Returns a non-blocking socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, _TYPE)
    try:
        connection.settimeout(timeout)
        connection.connect(encode_path(path))
    except OSError as error:
        connection.close()
        number = errno.ETIMEDOUT if isinstance(error, socket.timeout) else error.errno or errno.EIO
        raise OSError(number, os.strerror(number), path) from None
    connection.setblocking(False)
    return connection


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen at the first address of `host`. port: 0 for any. Returns a non-blocking socket. Raises OSError."""
    addresses = _addresses(host, port)
    if not addresses:
        raise OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    family, _, _, _, address = addresses[0]
    listener = socket.socket(family, _TYPE)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{address[0]} port {port}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


def listen_unix(path: str) -> socket.socket:
    """Listen at a path that is not there yet, for the agent's own user and root. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, _TYPE)
    try:
        listener.bind(encode_path(path))
        os.chmod(encode_path(path), 0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, path) from None
    listener.setblocking(False)
    return listener


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{host}: {error.args[1]}") from None
    except UnicodeError:
        raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is no name of a host") from None
