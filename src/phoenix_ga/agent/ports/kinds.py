"""Make a port from its name."""

from __future__ import annotations

from phoenix_ga.agent.ports.device import DevicePort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_ga.agent.ports.port import Port
    from phoenix_ga.agent.protocol.scheduler import Scheduler


def make_port(name: str, scheduler: Scheduler, settled: Callable[[], None]) -> Port:
    """Return the port for a value of the option `port`. Raises ValueError."""
    kind, colon, address = name.partition(":")
    if colon and kind == "tty":
        return DevicePort(name, scheduler, settled, raw=True)
    if colon and kind in ("unix", "vsock", "fd"):
        # The socket module costs memory that an agent on a virtio-serial port does not need.
        from phoenix_ga.agent.ports import sockets
        from phoenix_ga.agent.ports.listening import ListeningPort

        make = {
            "unix": sockets.unix_listener,
            "vsock": sockets.vsock_listener,
            "fd": sockets.inherited_listener,
        }[kind](address)
        return ListeningPort(name, scheduler, settled, make)
    if not name.startswith("/"):
        raise ValueError(f"port {name!r} is neither an absolute path nor unix:PATH, vsock:PORT or tty:PATH")
    return DevicePort(name, scheduler, settled)
