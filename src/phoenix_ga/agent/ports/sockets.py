"""Listening Unix sockets, for root and the agent's own user, and vsock sockets, for the host."""

from __future__ import annotations

# The module `socket` would load much that is not needed here.
import _socket as socket
import os
import stat
from errno import EACCES, EADDRINUSE, EAFNOSUPPORT
from struct import Struct

from phoenix_ga.agent.ports.listening import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_BACKLOG: Final = 64
_UCRED: Final = Struct("iII")  # struct ucred of unix(7): pid, uid, gid


class SocketListener(Listener):
    """A listening socket.

    Args:
        rejection: Returns the name of the peer if it may not talk to the agent, else an empty string.
    """

    def __init__(self, listening: socket.socket, rejection: Callable[[socket.socket, Any], str]) -> None:
        self._socket = listening
        self._socket.setblocking(False)
        self._rejection = rejection

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> int:
        fd, address = self._socket._accept()  # type: ignore[attr-defined]
        connection = socket.socket(fileno=fd)
        rejected = self._rejection(connection, address)
        if rejected:
            connection.close()
            raise PermissionError(EACCES, f"{rejected} may not talk to the agent")
        connection.setblocking(False)
        return connection.detach()

    def close(self) -> None:
        self._socket.close()


class UnixListener(SocketListener):
    """Listens at a path, for root and the user that the agent runs as.

    Args:
        fd: The socket that listens there already, or None.

    Raises:
        OSError: It is not possible.
    """

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        if fd is None:
            _remove_stale(path)
        super().__init__(_listen(socket.AF_UNIX, path, fd), _reject_user)
        self._made = os.lstat(path)

    def close(self) -> None:
        super().close()
        try:
            if os.path.samestat(os.lstat(self.path), self._made):
                os.unlink(self.path)
        except OSError:
            pass


def _listen(family: int, address: Any, fd: int | None) -> socket.socket:
    """Return a listening socket: that of `fd`, if it is not None. Raises OSError."""
    if fd is not None:
        return socket.socket(fileno=fd)
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.bind(address)
        if family == socket.AF_UNIX:
            # No client can connect before listen(2), so the default permissions do no harm.
            os.chmod(address, 0o600)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _reject_user(connection: socket.socket, address: Any) -> str:
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return "" if uid in (0, os.geteuid()) else f"user {uid}"


def _reject_guest(connection: socket.socket, address: Any) -> str:
    return "" if address[0] == socket.VMADDR_CID_HOST else f"CID {address[0]}"


def _remove_stale(path: str) -> None:
    """Remove the socket of an agent that died. Raises OSError (EADDRINUSE) if the path is in use."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(EADDRINUSE, "a file that is not a socket is there", path)
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # A blocking probe would wait for a socket whose queue is full.
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except BlockingIOError:
        pass
    finally:
        probe.close()
    raise OSError(EADDRINUSE, "another program listens there", path)


def unix_listener(address: str) -> Callable[[int | None], Listener]:
    """Return a function that makes the listener of `unix:PATH`, from a socket that listens already or from None.

    Raises:
        ValueError: The path is missing.
    """
    if not address:
        raise ValueError("unix: needs a path, such as unix:/run/phoenix-ga/socket")
    return lambda fd: UnixListener(address, fd)


def vsock_listener(address: str) -> Callable[[int | None], Listener]:
    """Return a function like that of `unix_listener` for `vsock:PORT`, for the host (CID 2) only.

    Raises:
        ValueError: The port is not a number.
    """
    if not address.isdecimal() or int(address) >= 2**32 - 1:
        raise ValueError("vsock: needs a port number, such as vsock:8383")
    place = (socket.VMADDR_CID_ANY, int(address))
    return lambda fd: SocketListener(_listen(socket.AF_VSOCK, place, fd), _reject_guest)


def inherited_listener(address: str) -> Callable[[int | None], Listener]:
    """Return a function that makes the listener of `fd:NUMBER`, a listening socket inherited at the start.

    Raises:
        ValueError: It is not a number. The function itself raises OSError if it is neither a Unix nor a vsock socket.
    """
    if not address.isdecimal():
        raise ValueError("fd: needs the number of a file descriptor")

    def make(fd: int | None) -> Listener:
        inherited = socket.socket(fileno=int(address))
        rejection = {socket.AF_UNIX: _reject_user, socket.AF_VSOCK: _reject_guest}.get(inherited.family)
        if rejection is None:
            raise OSError(EAFNOSUPPORT, "the inherited socket is neither a Unix nor a vsock socket")
        return SocketListener(inherited, rejection)

    return make
