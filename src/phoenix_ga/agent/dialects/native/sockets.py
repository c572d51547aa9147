"""Commands that carry TCP and Unix connections as streams."""

from __future__ import annotations

from errno import EINVAL

from phoenix_ga.agent.protocol.call import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def connect(context: Context, host: str, port: int, path: str, timeout: int, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.socket import SocketEndpoint
    from phoenix_ga.agent.operations import sockets

    _check_address(host, port, path)
    endpoint = SocketEndpoint(
        sockets.connect_unix(path, timeout) if path else sockets.connect_tcp(host, port, timeout)
    )
    return Opened({"window": endpoint.window}, {"stream": endpoint}, window)


def listen(context: Context, host: str, port: int, path: str, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.socket import ListeningEndpoint
    from phoenix_ga.agent.operations import sockets

    if path:
        _check_address(host, port, path)
        bound, file = sockets.listen_unix(path)
        return Opened({}, {"stream": ListeningEndpoint(bound, window, file)}, window)
    listener = sockets.listen_tcp(host or "127.0.0.1", port)
    address = listener.getsockname()
    return Opened({"host": address[0], "port": address[1]}, {"stream": ListeningEndpoint(listener, window)}, window)


def socket_list(context: Context) -> dict[str, Any]:
    from phoenix_ga.agent.operations.listening import listening_sockets

    return listening_sockets()


def _check_address(host: str, port: int, path: str) -> None:
    if bool(path) == bool(host or port) or (host and not port):
        raise OSError(EINVAL, "give either 'host' and 'port', or 'path'")
