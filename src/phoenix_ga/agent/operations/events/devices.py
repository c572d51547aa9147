"""Events of disks, processors and memory: what the kernel announces to udev."""

from __future__ import annotations

from _socket import AF_NETLINK, SO_RCVBUF, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket
from errno import ENOBUFS

from phoenix_ga.agent.linux.source import READS_MAX, Source
from phoenix_ga.agent.operations.events.producer import Producer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.events.producer import Tell

NETLINK_KOBJECT_UEVENT: Final = 15
# The group of the kernel itself; udevd sends to another.
_KERNEL_GROUP: Final = 1
_RECEIVE_SIZE: Final = 16384
_BUFFER: Final = 256 * 1024


class Uevents(Source):
    """Reads the variables of each uevent. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)
            self._socket.bind((0, _KERNEL_GROUP))
        except BaseException:
            self._socket.close()
            raise
        super().__init__(self._socket.fileno())

    def read(self) -> tuple[list[dict[str, str]], bool]:
        found: list[dict[str, str]] = []
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
                found.append(parse_uevent(data))
        return found, True

    def close(self) -> None:
        self._socket.close()


class DeviceProducer(Producer):
    """Tells of disks, partitions, processors and memory blocks."""

    names = ("DEVICE_ADDED", "DEVICE_REMOVED", "DEVICE_CHANGED")

    def __init__(self) -> None:
        super().__init__(Uevents())

    def take(self, items: list[Any], tell: Tell) -> None:
        for variables in items:
            kind = variables.get("SUBSYSTEM", "")
            if kind == "block":
                kind = variables.get("DEVTYPE", "disk")
            elif kind not in ("cpu", "memory"):
                continue
            data = {"kind": kind, "name": variables.get("DEVPATH", "").rpartition("/")[2]}
            action = variables.get("ACTION", "")
            if action in ("add", "remove"):
                tell("DEVICE_ADDED" if action == "add" else "DEVICE_REMOVED", data, None)
            else:
                if action not in ("online", "offline"):
                    action = "resize" if variables.get("RESIZE") == "1" else "change"
                tell("DEVICE_CHANGED", {**data, "action": action}, (kind, data["name"], action))


def parse_uevent(data: bytes) -> dict[str, str]:
    """Return the variables of a uevent, whose first line only repeats two of them."""
    lines = data.decode("utf-8", "surrogateescape").split("\0")[1:]
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}
