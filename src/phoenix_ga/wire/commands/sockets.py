"""Commands that carry TCP and Unix connections as streams."""

from __future__ import annotations

from phoenix_ga.wire.commands.shared import TOO_MANY_STREAMS, WINDOW
from phoenix_ga.wire.declaration import Argument, Command, Example, StreamMember

_SOCKET_PATH = Argument("path", str, "Path of a Unix socket, instead of `host` and `port`.", default="")

COMMANDS = (
    Command(
        "listen",
        "Listen in the guest on TCP or a Unix socket, and open a stream for each connection.",
        handler="sockets:listen",
        arguments=(
            Argument("host", str, "Address to listen on; empty: 127.0.0.1.", default=""),
            Argument("port", int, "TCP port; 0: any free port.", default=0, maximum=65535),
            _SOCKET_PATH,
            WINDOW,
        ),
        returns="`stream`: its number; with TCP also `host` and `port`, the address that the agent listens on. The "
        "stream carries a line of JSON for each connection: `stream`, the number of its stream; `window`, the number "
        "of bytes that the client may send on it at first; with TCP also `host` and `port` of the peer. If the agent "
        "refuses a connection, the line has only `refused`, the reason. Reset the stream to stop listening; open "
        "connections continue.",
        errors=(
            ("EADDRINUSE", "the address is in use"),
            ("EACCES", "the agent may not listen on this address"),
            TOO_MANY_STREAMS,
        ),
        examples=(
            Example({"port": 8384, "window": 0}, {"host": "127.0.0.1", "port": 8384, "stream": 70012}, exact=False),
        ),
        changes=True,
        streams=(StreamMember("stream", announces=True),),
        full_access=True,
    ),
    Command(
        "connect",
        "Connect to a TCP port that the guest can reach, or to a Unix socket in the guest.",
        handler="sockets:connect",
        arguments=(
            Argument("host", str, "Host name or address, resolved by the guest.", default=""),
            Argument("port", int, "TCP port.", default=0, maximum=65535),
            _SOCKET_PATH,
            Argument(
                "timeout",
                int,
                "Time limit for each address of the host, in seconds.",
                default=10,
                minimum=1,
                maximum=300,
            ),
            WINDOW,
        ),
        returns="`stream`: its number; `window`: the number of bytes that the client may send at first. If one "
        "direction ends, the other stays open.",
        errors=(
            ("ECONNREFUSED", "nothing listens there"),
            ("ETIMEDOUT", "there was no answer in time"),
            ("EADDRNOTAVAIL", "the host name is unknown"),
            ("ENOENT", "there is no such socket"),
            TOO_MANY_STREAMS,
        ),
        examples=(
            Example(
                {"host": "127.0.0.1", "port": 8384, "window": 0}, {"window": 131072, "stream": 70013}, exact=False
            ),
        ),
        changes=True,
        streams=(StreamMember("stream", sends=True),),
        full_access=True,
    ),
    Command(
        "socket-list",
        "List the TCP and UDP sockets that wait for clients, and the processes that have them open.",
        handler="sockets:socket_list",
        method="network.listening",
        result="ListeningSockets",
        returns="`sockets`: list of objects: `protocol` (`tcp` or `udp`); `address`, which is `0.0.0.0` or `::` for "
        "all; `port`; `uid` and `user`, the user that opened it, whose name may be empty; `processes`, a list of "
        "objects with `pid` and `name`, empty for a socket of the kernel. Those of other network namespaces, such as "
        "of containers, are not listed. `omitted`: the number of sockets beyond 4096, which are left out.",
        examples=(
            Example(
                {},
                {
                    "sockets": [
                        {
                            "protocol": "tcp",
                            "address": "0.0.0.0",
                            "port": 22,
                            "uid": 0,
                            "user": "root",
                            "processes": [{"pid": 612, "name": "sshd"}],
                        }
                    ],
                    "omitted": 0,
                },
                exact=False,
            ),
        ),
    ),
)
