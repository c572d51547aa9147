"""What systemd's manager says on its own socket, in as much of the D-Bus protocol as that takes.

systemd sends its signals to all connections of this socket, which only root can use, without a subscription. See the
D-Bus specification, and org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, timeout
from errno import EBADMSG, ENOTSUP, ETIMEDOUT
from struct import pack, unpack_from

from phoenix_ga.agent.linux.source import READS_MAX, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SOCKET: Final = "/run/systemd/private"
MANAGER_PATH: Final = b"/org/freedesktop/systemd1"
_UNITS_PATH: Final = MANAGER_PATH + b"/unit/"
_MANAGER: Final = b"org.freedesktop.systemd1.Manager"
_UNIT: Final = b"org.freedesktop.systemd1.Unit"
_PROPERTIES: Final = b"org.freedesktop.DBus.Properties"
_TIMEOUT: Final = 5.0
_RECEIVE_SIZE: Final = 65536
# A signal is shorter: a few kilobytes.
_SIGNAL_MAX: Final = 1024 * 1024
# Longer messages than this are no answer to our requests.
_MESSAGE_MAX: Final = 64 * 1024 * 1024
END: Final = b""
_CALL, _RETURN, _ERROR = 1, 2, 3
_HEADER_SIZE: Final = 16
_REPLY_SERIAL: Final = 5


class SystemdSignals(Source):
    """Reads the signals that systemd sends, each a whole message; END once it has executed itself again.

    The descriptor is an epoll instance, so that `reconnect` need not change it.

    Raises OSError (ENOTSUP) if systemd does not run.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._unread = b""
        self._socket: socket | None = None
        self._epoll = select.epoll()
        super().__init__(self._epoll.fileno())
        try:
            self.reconnect()
        except BaseException:
            self._epoll.close()
            raise

    def reconnect(self) -> None:
        """Connect again after END. Raises OSError. May block: on a worker."""
        if self._socket is None:
            connection = _connect(self._path)
            connection.setblocking(False)
            # In this order: the loop may read at once.
            self._socket = connection
            self._epoll.register(connection, select.EPOLLIN | select.EPOLLET)

    def read(self) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        # Without this, the epoll instance stays ready.
        self._epoll.poll(0)
        for _ in range(READS_MAX):
            if self._socket is None:
                return found, False
            try:
                data = self._socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                return found, False
            except OSError:
                data = b""
            found += self._split(data)
            if not data or len(self._unread) > _SIGNAL_MAX:
                self._epoll.unregister(self._socket)
                self._socket.close()
                self._socket, self._unread = None, b""
                found.append(END)
                self.lost = True
        return found, True

    def _split(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now, and keep the rest."""
        found = []
        self._unread += data
        while len(self._unread) >= _HEADER_SIZE:
            order = "<" if self._unread[:1] == b"l" else ">"
            body_length, _, fields_length = unpack_from(order + "III", self._unread, 4)
            size = _HEADER_SIZE + -(-fields_length // 8) * 8 + body_length
            if len(self._unread) < size:
                break
            found.append(self._unread[:size])
            self._unread = self._unread[size:]
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._epoll.close()


def unit_path(name: str) -> bytes:
    """Return the object path of a unit: letters and digits stay, others are `_` and their number in hexadecimal."""
    escaped = "".join(
        character
        if character.isascii() and character.isalnum() and (number or not character.isdigit())
        else "".join(f"_{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        for number, character in enumerate(name)
    )
    return _UNITS_PATH + escaped.encode("ascii")


def unit_of(message: bytes) -> str:
    """Return the name of the unit whose object has sent a signal; empty if it was none."""
    escaped = message.partition(_UNITS_PATH)[2].partition(b"\0")[0].split(b"_")
    name = escaped[0]
    for piece in escaped[1:]:
        try:
            name += bytes((int(piece[:2], 16),)) + piece[2:]
        except ValueError:
            return ""
    return name.decode("utf-8", "surrogateescape")


def text_property(message: bytes, name: bytes) -> str:
    """Return a property that a signal tells; empty if it does not."""
    found = _find_property(message, name, b"s")
    if found is None:
        return ""
    (length,) = unpack_from("<I" if message[:1] == b"l" else ">I", message, found)
    return message[found + 4 : found + 4 + length].decode("utf-8", "surrogateescape")


def number_property(message: bytes, name: bytes) -> int:
    """Return a property that a signal tells; 0 if it does not."""
    found = _find_property(message, name, b"i")
    return 0 if found is None else int(unpack_from("<i" if message[:1] == b"l" else ">i", message, found)[0])


def _find_property(message: bytes, name: bytes, kind: bytes) -> int | None:
    # With its length, because a name may be the end of another.
    length = pack("<I" if message[:1] == b"l" else ">I", len(name))
    _, found, after = message.partition(length + name + b"\0\1" + kind + b"\0")
    position = len(message) - len(after)
    position += -position % 4
    return position if found and position + 4 <= len(message) else None


def canonical_name(name: str, path: str = SOCKET) -> str:
    """Return the name by which systemd knows a unit that may be an alias. Makes systemd load it. Raises OSError."""
    return _property(path, unit_path(name), _UNIT, b"Id", name)


def units_in_state(*states: bytes, path: str = SOCKET) -> set[str]:
    """Return the names of the units whose ActiveState is one of these. Makes systemd load nothing. Raises OSError."""
    kind, body = _call(path, _request(MANAGER_PATH, _MANAGER, b"ListUnitsFiltered", list(states)))
    if kind == _ERROR or len(body) < 4:
        raise OSError(EBADMSG, "systemd does not list its units")
    found = set()
    # a(ssssssouso): name, description, load state, active state, sub state, following unit, path, and of its job the
    # number, type and path.
    position, end = 8, 8 + unpack_from("<I", body)[0]
    while position < end:
        texts = []
        for index in range(9):
            if index == 7:
                position += -position % 4 + 4
            position += -position % 4
            (length,) = unpack_from("<I", body, position)
            texts.append(body[position + 4 : position + 4 + length])
            position += length + 5
        position += -position % 8
        if texts[3] in states:
            found.add(texts[0].decode("utf-8", "surrogateescape"))
    return found


def system_state(path: str = SOCKET) -> str:
    """Return the SystemState, such as `starting`, `running` and `degraded`. Raises OSError."""
    return _property(path, MANAGER_PATH, _MANAGER, b"SystemState", "")


def _call(path: str, request: bytes) -> tuple[int, bytes]:
    """Return the kind and the body of the answer."""
    connection = _connect(path)
    try:
        connection.sendall(request)
        return _receive_answer(connection)
    except timeout:
        raise OSError(ETIMEDOUT, "systemd does not answer") from None
    finally:
        connection.close()


def _property(path: str, of: bytes, interface: bytes, name: bytes, otherwise: str) -> str:
    kind, body = _call(path, _request(of, _PROPERTIES, b"Get", interface, name))
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


def _request(path: bytes, interface: bytes, member: bytes, *arguments: bytes | list[bytes]) -> bytes:
    """Return a call whose arguments are strings, and lists of strings."""
    body = b""
    signature = b""
    for argument in arguments:
        is_list = isinstance(argument, list)
        texts = b""
        for text in argument if isinstance(argument, list) else (argument,):
            texts = _padded(texts, 4) + pack("<I", len(text)) + text + b"\0"
        body = _padded(body, 4) + (pack("<I", len(texts)) if is_list else b"") + texts
        signature += b"as" if is_list else b"s"
    fields = b""
    for code, kind, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member)):
        fields = _padded(fields, 8) + pack("<BB2sI", code, 1, kind + b"\0", len(value)) + value + b"\0"
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
