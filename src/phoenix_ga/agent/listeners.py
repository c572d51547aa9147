"""Unix and vsock sockets to listen on. A local user who is not the agent's own gets nowhere."""

from __future__ import annotations

# The module `socket` would load much that is not needed here.
import _socket as socket
import os
import stat
from errno import EACCES, EADDRINUSE
from struct import Struct

from phoenix_ga.agent.ports import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_BACKLOG: Final = 64
_UCRED: Final = Struct("iII")  # struct ucred of unix(7): pid, uid, gid


class SocketListener(Listener):
    """What listeners of every family share. Raises OSError."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._bind()
            self._socket.listen(_BACKLOG)
        except BaseException:
            self._socket.close()
            raise

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

    def _bind(self) -> None:
        raise NotImplementedError

    def _stranger(self, connection: socket.socket, address: Any) -> str:
        """Return who the peer is, where it may not talk to the agent; else an empty text."""
        raise NotImplementedError


class UnixListener(SocketListener):
    """Listens at a path, for root and the user that the agent runs as. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(socket.AF_UNIX)

    def close(self) -> None:
        super().close()
        try:
            if os.path.samestat(os.lstat(self.path), self._made):
                os.unlink(self.path)
        except OSError:
            pass

    def _bind(self) -> None:
        _remove_stale(self.path)
        self._socket.bind(self.path)
        # Nobody can connect before listen(2), so nobody ever sees wider permissions.
        os.chmod(self.path, 0o600)
        self._made = os.lstat(self.path)

    def _stranger(self, connection: socket.socket, address: Any) -> str:
        _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return "" if uid in (0, os.geteuid()) else f"user {uid}"


class VsockListener(SocketListener):
    """Listens on a vsock port, for the host (CID 2) and nobody else. Raises OSError."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(socket.AF_VSOCK)

    def _bind(self) -> None:
        self._socket.bind((socket.VMADDR_CID_ANY, self.port))

    def _stranger(self, connection: socket.socket, address: Any) -> str:
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
    """Return what makes the listener of `vsock:PORT`. Raises ValueError."""
    if not address.isdecimal() or int(address) >= 2**32 - 1:
        raise ValueError("vsock: needs a port number, such as vsock:8383")
    return lambda: VsockListener(int(address))
