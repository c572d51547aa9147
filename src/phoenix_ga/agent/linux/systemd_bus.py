"""What systemd's manager says on its own socket, in as much of the D-Bus protocol as that takes.

systemd sends its signals to all connections of this socket, which only root can use, without a subscription. See the
D-Bus specification, and org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, timeout
from errno import EBADMSG, ENOTSUP, ETIMEDOUT
from struct import pack, unpack_from

from phoenix_ga.agent.linux.source import READS_MAX, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SOCKET: Final = "/run/systemd/private"
MANAGER_PATH: Final = b"/org/freedesktop/systemd1"
_MANAGER: Final = b"org.freedesktop.systemd1.Manager"
_UNIT: Final = b"org.freedesktop.systemd1.Unit"
_PROPERTIES: Final = b"org.freedesktop.DBus.Properties"
_TIMEOUT: Final = 5.0
_RECEIVE_SIZE: Final = 65536
# Longer messages than this are no answer to our requests.
_MESSAGE_MAX: Final = 64 * 1024 * 1024
END: Final = b""
_CALL, _RETURN, _ERROR = 1, 2, 3
_HEADER_SIZE: Final = 16
_REPLY_SERIAL: Final = 5


class SystemdSignals(Source):
    """Reads the signals that systemd sends, as raw bytes; END once it has executed itself again, and sends no more.

    Raises OSError (ENOTSUP) if systemd does not run.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._socket = _connect(path)
        self._socket.setblocking(False)
        super().__init__(self._socket.fileno())

    def read(self) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        for _ in range(READS_MAX):
            try:
                data = self._socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                return found, False
            if not data:
                found.append(END)
                self.lost = True
                return found, False
            found.append(data)
        return found, True

    def close(self) -> None:
        self._socket.close()


def unit_path(name: str) -> bytes:
    """Return the object path of a unit: letters and digits stay, others are `_` and their number in hexadecimal."""
    escaped = "".join(
        character
        if character.isascii() and character.isalnum() and (number or not character.isdigit())
        else "".join(f"_{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        for number, character in enumerate(name)
    )
    return b"%s/unit/%s" % (MANAGER_PATH, escaped.encode("ascii"))


def unit_state(name: str, path: str = SOCKET) -> str:
    """Return the ActiveState of a unit; `inactive` if systemd has not loaded it. Raises OSError."""
    return _property(path, unit_path(name), _UNIT, b"ActiveState", "inactive")


def system_state(path: str = SOCKET) -> str:
    """Return the SystemState, such as `starting`, `running` and `degraded`. Raises OSError."""
    return _property(path, MANAGER_PATH, _MANAGER, b"SystemState", "")


def _property(path: str, of: bytes, interface: bytes, name: bytes, otherwise: str) -> str:
    connection = _connect(path)
    try:
        connection.sendall(_request(of, _PROPERTIES, b"Get", interface, name))
        kind, body = _receive_answer(connection)
    except timeout:
        raise OSError(ETIMEDOUT, "systemd does not answer") from None
    finally:
        connection.close()
    if kind == _ERROR:
        return otherwise
    # A variant: its signature `s`, then the string.
    if body[:3] != b"\1s\0" or len(body) < 8:
        raise OSError(EBADMSG, "systemd sent an answer of another type")
    (length,) = unpack_from("<I", body, 4)
    return body[8 : 8 + length].decode("utf-8", "replace")


def _connect(path: str) -> socket:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(path)
        except OSError:
            raise OSError(ENOTSUP, "systemd does not run in this guest") from None
        # The user ID is root's, in hexadecimal.
        connection.sendall(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            piece = connection.recv(1)
            if not piece or len(answer) > 256:
                break
            answer += piece
        if not answer.startswith(b"OK "):
            raise OSError(ENOTSUP, "systemd refuses the connection")
    except timeout:
        connection.close()
        raise OSError(ETIMEDOUT, "systemd does not answer") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _request(path: bytes, interface: bytes, member: bytes, *arguments: bytes) -> bytes:
    body = b""
    for argument in arguments:
        body = _padded(body, 4) + pack("<I", len(argument)) + argument + b"\0"
    fields = b""
    for code, signature, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member)):
        fields = _padded(fields, 8) + pack("<BB2sI", code, 1, signature + b"\0", len(value)) + value + b"\0"
    signature = b"s" * len(arguments)
    fields = _padded(fields, 8) + pack("<BB2sB", 8, 1, b"g\0", len(signature)) + signature + b"\0"
    header = pack("<BBBBIII", ord("l"), _CALL, 0, 1, len(body), 1, len(fields)) + fields
    return _padded(header, 8) + body


def _receive_answer(connection: socket) -> tuple[int, bytes]:
    """Return the kind and the body of the answer; signals before it are skipped."""
    while True:
        header = _receive(connection, _HEADER_SIZE)
        order = "<" if header[:1] == b"l" else ">"
        kind = header[1]
        body_length, _, fields_length = unpack_from(order + "III", header, 4)
        if body_length + fields_length > _MESSAGE_MAX or order == ">":
            raise OSError(EBADMSG, "systemd sent a message that is not understood")
        rest = _receive(connection, -(-fields_length // 8) * 8 + body_length)
        if kind in (_RETURN, _ERROR):
            return kind, rest[len(rest) - body_length :]


def _receive(connection: socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError(EBADMSG, "systemd closed the connection")
        data += piece
    return data


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)
