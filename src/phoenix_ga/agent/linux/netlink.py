"""Netlink: a request to the kernel, its answers, and the attributes that both carry.

See netlink(7), rtnetlink(7) and linux/netlink.h, whose names the constants have.
"""

from __future__ import annotations

import os

# The module `socket` would take 1.2 MB in the guest.
from _socket import AF_NETLINK, MSG_TRUNC, SOCK_CLOEXEC, SOCK_RAW, socket, timeout
from errno import EAGAIN, EBADMSG, EMSGSIZE, ENOBUFS, ETIMEDOUT
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, NoReturn, Protocol

    class Transport(Protocol):
        """The methods of a netlink socket that are used."""

        def getsockname(self) -> tuple[int, int]: ...
        def send(self, data: bytes, /) -> int: ...
        def recvmsg(self, size: int, /) -> tuple[bytes, object, int, tuple[int, int]]: ...


NETLINK_ROUTE: Final = 0
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLM_F_DUMP: Final = 0x300
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4

NLMSGERR_ATTR_MSG: Final = 1
NLA_TYPE_MASK: Final = 0x3FFF

# The kernel normally answers within the system call.
_TIMEOUT_SECONDS: Final = 5
# As large as the kernel makes the pieces of a dump.
_RECEIVE_SIZE: Final = 32768
# A dump is consistent unless something changed while it was read; changes are rare and dumps quick.
_DUMP_ATTEMPTS: Final = 8
_SEQUENCE: Final = 1
_KERNEL_PORT: Final = 0

_nlmsghdr: Final = Struct("=IHHII")
_nlattr: Final = Struct("=HH")
_int: Final = Struct("=i")
_nlmsgerr_size: Final = _int.size + _nlmsghdr.size


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded to a multiple of 4 bytes."""
    return _nlattr.pack(_nlattr.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the values of the attributes from `offset` to the end of `data`, by type.

    Raises OSError(EBADMSG) if they do not fit into the data.
    """
    found = {}
    end = len(data)
    while offset + _nlattr.size <= end:
        length, kind = _nlattr.unpack_from(data, offset)
        if length < _nlattr.size or offset + length > end:
            malformed("an attribute")
        found[kind & NLA_TYPE_MASK] = data[offset + _nlattr.size : offset + length]
        offset += _aligned(length)
    return found


def unpack(layout: Struct, data: bytes) -> tuple[int, ...]:
    """Return the numbers that `data` begins with. Raises OSError(EBADMSG) if it is too short."""
    if len(data) < layout.size:
        malformed("a message")
    return layout.unpack_from(data)


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield kind, flags, sequence number, port and payload of each message. Raises OSError(EBADMSG)."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _nlmsghdr.size:
            malformed("a message")
        length, kind, flags, sequence, port = _nlmsghdr.unpack_from(data, offset)
        if length < _nlmsghdr.size or offset + length > len(data):
            malformed("a message")
        yield kind, flags, sequence, port, data[offset + _nlmsghdr.size : offset + length]
        offset += _aligned(length)


def malformed(what: str) -> NoReturn:
    """Raise OSError(EBADMSG) for a message or a part of one that does not fit its length."""
    raise OSError(EBADMSG, f"the kernel sent {what} that is cut short")


def change(kind: int, flags: int, payload: bytes) -> None:
    """Execute a change by rtnetlink.

    kind: RTM_NEW... or RTM_DEL...; flags: NLM_F_CREATE and the like. Raises OSError with the
    kernel's errno and message; ETIMEDOUT if it does not answer within 5 seconds.
    """
    connection = _connect()
    try:
        confirm(connection, kind, flags, payload)
    finally:
        connection.close()


def dump(kind: int, answer: int, payload: bytes) -> list[bytes]:
    """Return the payloads of all messages with which rtnetlink answers a dump request.

    kind: RTM_GET..., whose dump consists of messages of the kind `answer`. A dump that was not
    consistent is repeated. Raises OSError(EAGAIN) if it never is, else as `change`.
    """
    for _ in range(_DUMP_ATTEMPTS):
        connection = _connect()
        try:
            payloads = collect(connection, kind, answer, payload)
        except OSError as error:
            if error.errno != ENOBUFS:
                raise
        else:
            if payloads is not None:
                return payloads
        finally:
            connection.close()
    raise OSError(EAGAIN, "the list kept changing while it was read")


def confirm(transport: Transport, kind: int, flags: int, payload: bytes) -> None:
    """Send one request on a fresh netlink socket and return when the kernel has carried it out."""
    _send(transport, kind, flags | NLM_F_ACK, payload)
    for kind_received, flags_received, received in _answers(transport):
        if kind_received == NLMSG_ERROR:
            _raise_for(received, flags_received, _nlmsgerr_size)
            return


def collect(transport: Transport, kind: int, answer: int, payload: bytes) -> list[bytes] | None:
    """Return the payloads of one dump on a fresh netlink socket, None if it is inconsistent."""
    _send(transport, kind, NLM_F_DUMP, payload)
    payloads = []
    interrupted = 0
    for kind_received, flags_received, received in _answers(transport):
        interrupted |= flags_received & NLM_F_DUMP_INTR
        if kind_received == answer:
            payloads.append(received)
        elif kind_received == NLMSG_ERROR:
            _raise_for(received, flags_received, _nlmsgerr_size)
        elif kind_received == NLMSG_DONE:
            # A dump that fails reports the error at its end.
            _raise_for(received, flags_received, _int.size)
            break
    return None if interrupted else payloads


def _connect() -> socket:
    connection = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    try:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            try:
                connection.setsockopt(SOL_NETLINK, option, 1)
            except OSError:
                # Kernels before 4.20 lack one: fewer error texts, and more messages to skip.
                break
    except BaseException:
        connection.close()
        raise
    return connection


def _send(transport: Transport, kind: int, flags: int, payload: bytes) -> None:
    length = _nlmsghdr.size + len(payload)
    transport.send(_nlmsghdr.pack(length, kind, flags | NLM_F_REQUEST, _SEQUENCE, 0) + payload)


def _answers(transport: Transport) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, flags and payload of each message that answers the request."""
    port = transport.getsockname()[0]
    while True:
        try:
            data, _, flags, sender = transport.recvmsg(_RECEIVE_SIZE)
        except timeout:
            raise OSError(ETIMEDOUT, f"the kernel did not answer within {_TIMEOUT_SECONDS} seconds") from None
        # Another process of the guest may send to this socket, in the kernel's name even.
        if sender[0] != _KERNEL_PORT:
            continue
        if flags & MSG_TRUNC:
            raise OSError(EMSGSIZE, f"the kernel sent a message of more than {_RECEIVE_SIZE} bytes")
        for kind, message_flags, sequence, message_port, payload in messages(data):
            if kind == NLMSG_OVERRUN:
                raise OSError(ENOBUFS, "the kernel lost a part of its answer")
            if sequence == _SEQUENCE and message_port == port:
                yield kind, message_flags, payload


def _raise_for(payload: bytes, flags: int, size: int) -> None:
    """Raise the error of NLMSG_ERROR or NLMSG_DONE, if there is one.

    size: of what precedes the attributes, but for a copy of the request's payload.
    """
    if len(payload) < size:
        malformed("an error")
    code = -_int.unpack_from(payload)[0]
    if code <= 0:
        return
    text = ""
    if flags & NLM_F_ACK_TLVS:
        if size == _nlmsgerr_size and not flags & NLM_F_CAPPED:
            request_length = _nlmsghdr.unpack_from(payload, _int.size)[0]
            size = _int.size + _aligned(request_length)
        text = attributes(payload, size).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace")
    raise OSError(code, f"{os.strerror(code)} ({text})" if text else os.strerror(code))


def _aligned(length: int) -> int:
    return (length + 3) & ~3
