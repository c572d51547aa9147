"""Unix and vsock sockets to listen on. A local user who is not the agent's own gets nowhere."""

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
    """A socket that is listened on already.

    stranger: returns who the peer of a connection is, where it may not talk to the agent, else an empty text.
    """

    def __init__(self, listening: socket.socket, stranger: Callable[[socket.socket, Any], str]) -> None:
        self._socket = listening
        self._socket.setblocking(False)
        self._stranger = stranger

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> int:
        fd, address = self._socket._accept()  # type: ignore[attr-defined]
        connection = socket.socket(fileno=fd)
        stranger = self._stranger(connection, address)
        if stranger:
            connection.close()
            raise PermissionError(EACCES, f"{stranger} may not talk to the agent")
        connection.setblocking(False)
        return connection.detach()

    def close(self) -> None:
        self._socket.close()


class UnixListener(SocketListener):
    """Listens at a path, for root and the user that the agent runs as. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        _remove_stale(path)
        super().__init__(_listen(socket.AF_UNIX, path), _unix_stranger)
        self._made = os.lstat(path)

    def close(self) -> None:
        super().close()
        try:
            if os.path.samestat(os.lstat(self.path), self._made):
                os.unlink(self.path)
        except OSError:
            pass


def _listen(family: int, address: Any) -> socket.socket:
    """Return a socket that listens. Raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.bind(address)
        if family == socket.AF_UNIX:
            # Nobody can connect before listen(2), so nobody ever sees wider permissions.
            os.chmod(address, 0o600)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _unix_stranger(connection: socket.socket, address: Any) -> str:
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return "" if uid in (0, os.geteuid()) else f"user {uid}"


def _vsock_stranger(connection: socket.socket, address: Any) -> str:
    return "" if address[0] == socket.VMADDR_CID_HOST else f"CID {address[0]}"


def _remove_stale(path: str) -> None:
    """Remove the socket of an agent that died. Raises OSError (EADDRINUSE) where one still listens."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(EADDRINUSE, "there is a file that is no socket", path)
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # One whose queue is full would keep a blocking probe waiting.
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


def unix_listener(address: str) -> Callable[[], Listener]:
    """Return what makes the listener of `unix:PATH`. Raises ValueError."""
    if not address:
        raise ValueError("unix: needs a path, such as unix:/run/phoenix-ga/socket")
    return lambda: UnixListener(address)


def vsock_listener(address: str) -> Callable[[], Listener]:
    """Return what makes the listener of `vsock:PORT`, for the host (CID 2) and nobody else. Raises ValueError."""
    if not address.isdecimal() or int(address) >= 2**32 - 1:
        raise ValueError("vsock: needs a port number, such as vsock:8383")
    place = (socket.VMADDR_CID_ANY, int(address))
    return lambda: SocketListener(_listen(socket.AF_VSOCK, place), _vsock_stranger)


def inherited_listener(address: str) -> Callable[[], Listener]:
    """Return what makes the listener of a socket that whoever started the agent listens on: its file descriptor.

    Raises ValueError; the listener raises OSError where it is neither a Unix nor a vsock socket.
    """
    if not address.isdecimal():
        raise ValueError("fd: needs the number of a file descriptor")

    def make() -> Listener:
        inherited = socket.socket(fileno=int(address))
        stranger = {socket.AF_UNIX: _unix_stranger, socket.AF_VSOCK: _vsock_stranger}.get(inherited.family)
        if stranger is None:
            raise OSError(EAFNOSUPPORT, "the socket that was passed on is neither of Unix nor of vsock")
        return SocketListener(inherited, stranger)

    return make
