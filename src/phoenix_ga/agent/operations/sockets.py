"""Connecting to sockets of the guest, and listening on them."""

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
# Before Python 3.10, socket.timeout is not a TimeoutError.
_TIMEOUTS: Final = (TimeoutError, socket.timeout)


class SocketFile:
    """The path of a Unix socket that this agent bound, while that socket is open.

    The socket holds its inode, so no other file can get the same number.
    """

    __slots__ = ("_identity", "_path")

    def __init__(self, path: str) -> None:
        self._path = encode_path(path)
        self._identity = self._stat()

    def remove(self) -> None:
        """Remove the path, unless another file is there by now. Never raises."""
        try:
            if self._stat() == self._identity:
                os.unlink(self._path)
        except OSError:
            pass

    def _stat(self) -> tuple[int, int]:
        status = os.lstat(self._path)
        return status.st_dev, status.st_ino


def connect_tcp(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of `host` that answers; return a non-blocking socket.

    Args:
        timeout: for each address, in seconds.

    Raises:
        OSError: EADDRNOTAVAIL if the name is unknown, ETIMEDOUT after the timeout.
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
            number = _error_number(error)
            problem = OSError(number, f"{address[0]} port {port}: {os.strerror(number)}")
            continue
        connection.setblocking(False)
        return connection
    raise problem


def connect_unix(path: str, timeout: float) -> socket.socket:
    """Connect to a Unix socket, within `timeout` seconds; return a non-blocking socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, _TYPE)
    try:
        connection.settimeout(timeout)
        connection.connect(encode_path(path))
    except OSError as error:
        connection.close()
        number = _error_number(error)
        raise OSError(number, os.strerror(number), path) from None
    connection.setblocking(False)
    return connection


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen on the first address of `host`, at any port if `port` is 0; return a non-blocking socket.

    Raises:
        OSError: EADDRNOTAVAIL if the name is unknown, else as bind(2) and listen(2).
    """
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


def listen_unix(path: str) -> tuple[socket.socket, SocketFile]:
    """Listen at a path that does not exist yet, for root and the agent's own user.

    Returns:
        A non-blocking socket, and what removes the path.

    Raises:
        OSError: EADDRINUSE if the path exists, else as bind(2).
    """
    listener = socket.socket(socket.AF_UNIX, _TYPE)
    file = None
    try:
        listener.bind(encode_path(path))
        os.chmod(encode_path(path), 0o600)
        file = SocketFile(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        if file is not None:
            file.remove()
        listener.close()
        raise OSError(error.errno, error.strerror, path) from None
    listener.setblocking(False)
    return listener, file


def _error_number(error: OSError) -> int:
    return errno.ETIMEDOUT if isinstance(error, _TIMEOUTS) else error.errno or errno.EIO


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{host}: {error.args[1]}") from None
    except UnicodeError:
        raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is not a valid host name") from None
