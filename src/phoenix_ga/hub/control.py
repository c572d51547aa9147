"""The control socket: what the hub itself is asked, in the lines of the guests' protocol.

{"execute": "list"}
{"return": [{"name": "web1", "endpoint": "/run/web1.sock", "source": "qemu", "state": "open", "clients": [...]}]}
"""

from __future__ import annotations

import asyncio
import fnmatch
import socket
from collections.abc import Callable
from errno import EINVAL, EMFILE, ENOENT, EPERM
from typing import TYPE_CHECKING, Any, Final

from phoenix_ga.hub.users import User, peer_of, user_named
from phoenix_ga.wire.messages import NO_CODE, MessageError, Request, decode_request, encode_error, encode_return

if TYPE_CHECKING:
    from phoenix_ga.hub.daemon import Hub

_LINE_MAX: Final = 64 * 1024
# An answer that was not read; beyond, no other request is answered.
_UNREAD_MAX: Final = 64 * 1024


class ControlError(Exception):
    """A request that is refused. code: errno."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ControlConnection(asyncio.Protocol):
    """A connection to the control socket."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._user: User | None = None
        self._leave: Callable[[], None] | None = None
        self._ended = self._unread = False
        # Answers one request; the next one waits.
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connection: socket.socket = transport.get_extra_info("socket")
        try:
            self._user = peer_of(connection)
        except OSError:
            transport.abort()
            return
        self._leave = self._hub.quotas.admit(self._user.uid, self)
        if self._leave is None:
            transport.write(encode_error(f"too many connections of user {self._user.name}", EMFILE))
            transport.close()
        transport.set_write_buffer_limits(_UNREAD_MAX)

    def data_received(self, data: bytes) -> None:
        if self._leave is not None:
            self._buffer += data
            self._pump()

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self._pump()

    def eof_received(self) -> bool:
        # The answers may still be on their way.
        self._ended = True
        return self._task is not None or b"\n" in self._buffer

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._hub.watchers.discard(self)
        if self._leave is not None:
            self._leave()
        if self._task is not None:
            self._task.cancel()

    @property
    def held(self) -> int:
        """The number of bytes of requests that are kept."""
        return len(self._buffer)

    def send_event(self, event: str, guest: str, **data: Any) -> None:
        """Send an event to a client that watches; those about clients only to an owner."""
        if self._transport is None or self._user is None or not self._hub.config.rules.knows(self._user, guest):
            return
        if "client" not in data or self._hub.is_owner(self._user):
            self._transport.writelines(encode_return({"event": event, "guest": guest, **data}))
            if self._transport.get_write_buffer_size() > 16 * _LINE_MAX:
                self._transport.abort()

    def _pump(self) -> None:
        """Answer what has arrived, one request after the other, if the client reads the answers."""
        if self._transport is None:
            return
        while self._task is None and not self._unread and (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._receive(self._transport, line.strip(b"\xff\r "))
        is_waiting = self._task is not None or self._unread
        if is_waiting:
            self._transport.pause_reading()
        elif len(self._buffer) > _LINE_MAX:
            self._transport.abort()
        elif self._ended:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def _receive(self, transport: asyncio.Transport, line: bytes) -> None:
        if not line:
            return
        try:
            request = decode_request(line)
        except MessageError as error:
            transport.write(encode_error(str(error), NO_CODE, error.tag))
            return
        self._task = asyncio.get_running_loop().create_task(self._answer(request))
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()
        self._pump()

    async def _answer(self, request: Request) -> None:
        assert self._user is not None
        try:
            value = await _run(self._hub, self, self._user, request)
            answer = b"".join(encode_return(value, request.tag))
        except ControlError as error:
            answer = encode_error(str(error), error.code, request.tag)
        if self._transport is not None:
            self._transport.write(answer)


async def _run(hub: Hub, connection: ControlConnection, user: User, request: Request) -> Any:
    commands: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "list": (lambda: hub.describe(user), ()),
        "status": (lambda: hub.describe(user), ()),
        "watch": (lambda: _watch(hub, connection, user), ()),
        "release": (lambda guest: _release(hub, user, guest), ("guest",)),
        "record": (lambda: _record(hub, user), ()),
        "reload": (lambda: _reload(hub, user), ()),
        "explain": (lambda user, guest, command: _explain(hub, user, guest, command), ("user", "guest", "command")),
    }
    if request.execute not in commands:
        raise ControlError(f"unknown command {request.execute!r}; there are: {', '.join(commands)}", NO_CODE)
    function, names = commands[request.execute]
    if set(request.arguments) != set(names) or not all(isinstance(each, str) for each in request.arguments.values()):
        raise ControlError(f"{request.execute} takes the strings: {', '.join(names) or 'none'}", EINVAL)
    value = function(**request.arguments)
    return await value if asyncio.iscoroutine(value) else value


def _watch(hub: Hub, connection: ControlConnection, user: User) -> list[dict[str, Any]]:
    hub.watchers.add(connection)
    return hub.describe(user)


async def _release(hub: Hub, user: User, guest: str) -> list[str]:
    _require_owner(hub, user, "release")
    servers = [server for name, server in hub.servers.items() if fnmatch.fnmatchcase(name, guest)]
    if not servers:
        raise ControlError(f"no guest is named {guest!r}", ENOENT)
    for server in servers:
        await server.link.close()
    return [server.guest.name for server in servers]


def _record(hub: Hub, user: User) -> str:
    _require_owner(hub, user, "read the record")
    return str(hub.config.audit or "")


async def _reload(hub: Hub, user: User) -> bool:
    _require_owner(hub, user, "reload")
    try:
        await hub.reload()
    except ValueError as error:
        raise ControlError(str(error), EINVAL) from None
    return True


def _explain(hub: Hub, user: str, guest: str, command: str) -> dict[str, Any]:
    try:
        whom = user_named(user)
    except KeyError:
        raise ControlError(f"no user is named {user!r}", ENOENT) from None
    verdict = hub.config.rules.decide(whom, guest, command, {})
    return {"allowed": verdict.allowed, "reason": verdict.reason, "groups": sorted(whom.groups)}


def _require_owner(hub: Hub, user: User, what: str) -> None:
    if not hub.is_owner(user):
        raise ControlError(f"only root, the hub's own user and the group phoenix may {what}", EPERM)
