"""The changes of links, addresses and routes that rtnetlink(7) announces to its multicast groups."""

from __future__ import annotations

from _socket import AF_NETLINK, SO_RCVBUF, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket
from errno import ENOBUFS

from phoenix_ga.agent.linux.netlink import NETLINK_ROUTE, messages
from phoenix_ga.agent.linux.source import READS_MAX, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# linux/rtnetlink.h
RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV4_ROUTE: Final = 0x40
RTMGRP_IPV6_IFADDR: Final = 0x100
RTMGRP_IPV6_ROUTE: Final = 0x400
ALL: Final = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE

_RECEIVE_SIZE: Final = 32768
# The kernel's memory for messages that were not read yet, in bytes; its bookkeeping counts.
_BUFFER: Final = 256 * 1024


class RouteChanges(Source):
    """Reads pairs of a message's kind (RTM_NEW..., RTM_DEL...) and its payload. Raises OSError."""

    def __init__(self, groups: int = ALL) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)
            self._socket.bind((0, groups))
        except BaseException:
            self._socket.close()
            raise
        super().__init__(self._socket.fileno())

    def read(self) -> tuple[list[tuple[int, bytes]], bool]:
        found: list[tuple[int, bytes]] = []
        for _ in range(READS_MAX):
            try:
                data, _, _, sender = self._socket.recvmsg(_RECEIVE_SIZE)
            except BlockingIOError:
                return found, False
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                self.lost = True
                continue
            # Another process of the guest may send to this socket.
            if sender[0] == 0:
                found += [(kind, payload) for kind, _, _, _, payload in messages(data)]
        return found, True

    def close(self) -> None:
        self._socket.close()
