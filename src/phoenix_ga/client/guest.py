"""The guest as an object: one method for each command, and whole files in both directions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from phoenix_ga.client.connection import Connection, Trace
from phoenix_ga.client.endpoints import open_endpoint
from phoenix_ga.client.errors import ProtocolViolation
from phoenix_ga.client.models import FilePiece, FileStatus, NetworkInterface, Route, SystemInformation
from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.client.transfer import Progress, Transferred, get_file, put_file
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.commands import AF_UNSPEC, READ_COUNT_DEFAULT
from phoenix_ga.wire.messages import Request, encode_base64
from phoenix_ga.wire.units import LINE_LIMIT

CONNECT_TIMEOUT: Final = 10.0
CALL_TIMEOUT: Final = 30.0

Result = TypeVar("Result")


class _Unset:
    """Stands for a time-out that was not given; None means no limit."""


_UNSET: Final = _Unset()


class Guest:
    """A guest to talk to, made by `connect`. Calls may be made from many tasks at once.

    Every method raises GuestRefused, GuestTimeout, LinkLost or ProtocolViolation; where no answer
    came, whether the guest did what was asked is unknown. Paths are absolute paths in the guest.
    timeout: of one call, in seconds; None for no limit.
    """

    def __init__(self, connection: Connection, timeout: float | None = CALL_TIMEOUT) -> None:
        self._connection = connection
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<Guest over {self._connection!r}>"

    @property
    def name(self) -> str:
        """The endpoint, as it was given to `connect`."""
        return self._connection.name

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._connection.closed

    async def close(self) -> None:
        """End the connection; calls under way raise LinkLost. May be called twice."""
        await self._connection.close()

    async def __aenter__(self) -> Guest:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def with_timeout(self, timeout: float | None) -> Guest:
        """Return this guest, over the same connection, with another time-out for each call.

        timeout: in seconds; None for no limit.
        """
        return Guest(self._connection, timeout)

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        timeout: float | _Unset | None = _UNSET,
    ) -> Any:
        """Run any command, and return what it returned, unchecked.

        arguments: by name, as JSON values. timeout: in seconds, None for no limit; the guest's own
        where it is not given.
        """
        limit = self.timeout if isinstance(timeout, _Unset) else timeout
        return await self._connection.call(command, arguments or {}, limit)

    async def _read(self, read: Callable[[Shape], Result], command: str, **arguments: Any) -> Result:
        """Run a command and return what `read` makes of its answer."""
        value = await self.execute(command, arguments)
        try:
            return read(Shape(value))
        except ShapeError as error:
            raise ProtocolViolation(str(error), Request(command, arguments)) from None

    # The agent and the system

    async def ping(self) -> str:
        """Return the version of the agent."""
        return await self._read(Shape.text, "ping")

    async def sync(self, id: int) -> int:
        """Return `id`. The agent forgets the requests under way: they are never answered."""
        return await self._read(Shape.integer, "sync", id=id)

    async def get_commands(self) -> tuple[str, ...]:
        """Return the names of the commands that the agent would run."""
        return await self._read(_texts, "get-commands")

    async def agent_shutdown(self) -> None:
        """Stop the agent; a service manager starts it again."""
        await self._read(Shape.true, "agent-shutdown")

    async def sysinfo(self) -> SystemInformation:
        """Return what runs in the guest: kernel, load, memory, users and disks."""
        return await self._read(SystemInformation.read, "sysinfo")

    # Files and directories

    async def file_open(self, path: str, mode: str = "r", perm: int = 0o644, force: bool = False) -> int:
        """Open a file and return its handle, which outlives the connection.

        mode: "r" to read, "w" to create or empty the file. perm: permissions of a file that is made.
        force: where it is a running program, remove it and make it anew.
        """
        return await self._read(Shape.integer, "file-open", path=path, mode=mode, perm=perm, force=force)

    async def file_read(self, handle: int, count: int = READ_COUNT_DEFAULT) -> FilePiece:
        """Return the next piece of a file, of at most `count` bytes. After the end the handle is closed."""
        return await self._read(FilePiece.read, "file-read", handle_id=handle, count=count)

    async def file_write(self, handle: int, data: bytes, eof: bool = False) -> None:
        """Write to a file. eof: this is the last piece; bring it to the disk and close the handle."""
        text = encode_base64(data).decode("ascii")
        await self._read(Shape.true, "file-write", handle_id=handle, bufb64=text, eof=eof)

    async def file_close(self, handle: int) -> None:
        """Close a handle. A file that was written is on the disk then."""
        await self._read(Shape.true, "file-close", handle_id=handle)

    async def get_file_md5sum(self, path: str) -> str:
        """Return the MD5 digest of a file, in hex."""
        return await self._read(Shape.text, "get-file-md5sum", path=path)

    async def file_chown(self, path: str, uid: int = 0, gid: int = 0) -> None:
        """Change owner and group of a file, by number."""
        await self._read(Shape.true, "file-chown", path=path, uid=uid, gid=gid)

    async def file_chmod(self, path: str, perm: int) -> None:
        """Change the permissions of a file."""
        await self._read(Shape.true, "file-chmod", path=path, perm=perm)

    async def file_stat(self, path: str) -> FileStatus:
        """Return what lstat(2) tells of a path; a symbolic link is not followed."""
        return await self._read(FileStatus.read, "file-stat", path=path)

    async def directory_create(self, path: str, perm: int = 0o755) -> None:
        """Make a directory and the parents that it lacks; one that exists is fine."""
        await self._read(Shape.true, "directory-create", path=path, perm=perm)

    async def directory_list(self, path: str, n: int = 0) -> tuple[FileStatus, ...]:
        """Return the entries of a directory, `n` at most; 0: all."""
        return await self._read(_statuses, "directory-list", path=path, n=n)

    async def get(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        mode: int | None = None,
        verify: bool = True,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a file of the guest to this host. The local file appears whole or not at all.

        mode: permissions of the local file; None: as in the guest. verify: compare the MD5 digests.
        progress: is called with the bytes copied so far, and all that there are or None. Raises
        OSError for the local file, TransferDamaged, and what every method raises.
        """
        return await get_file(self, remote, os.fspath(local), mode, verify, progress)

    async def put(
        self,
        local: str | os.PathLike[str],
        remote: str,
        *,
        mode: int | None = None,
        verify: bool = True,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a regular file of this host to the guest, where it is written in place.

        A put that fails leaves a part of the file. mode: permissions of the file in the guest; None:
        as here. verify, progress and errors: as with `get`.
        """
        return await put_file(self, os.fspath(local), remote, mode, verify, progress)

    # Filesystems

    async def fs_freeze(self) -> None:
        """Freeze every local filesystem, until `fs_unfreeze`. After a GuestTimeout ask for the status."""
        await self._read(Shape.true, "fs-freeze")

    async def fs_unfreeze(self) -> None:
        """Thaw what is frozen. Nothing frozen is fine."""
        await self._read(Shape.true, "fs-unfreeze")

    async def get_freeze_status(self) -> bool:
        """Tell whether filesystems are frozen."""
        return await self._read(Shape.boolean, "get-freeze-status")

    # Network

    async def get_netifaces(self) -> tuple[NetworkInterface, ...]:
        """Return the network interfaces and their addresses."""
        return await self._read(_interfaces, "get-netifaces")

    async def ipaddr_add(self, ip: str, ifname: str) -> None:
        """Add an address, such as `192.0.2.10/24`, to an interface."""
        await self._read(Shape.true, "ipaddr-add", ip=ip, ifname=ifname)

    async def ipaddr_del(self, ip: str, ifname: str) -> None:
        """Remove an address from an interface."""
        await self._read(Shape.true, "ipaddr-del", ip=ip, ifname=ifname)

    async def net_iface_up(self, ifname: str) -> None:
        """Set an interface up."""
        await self._read(Shape.true, "net-iface-up", ifname=ifname)

    async def net_iface_down(self, ifname: str) -> None:
        """Set an interface down."""
        await self._read(Shape.true, "net-iface-down", ifname=ifname)

    async def get_route_list(self, family: int = AF_UNSPEC) -> tuple[Route, ...]:
        """Return the routes of the main table. family: 0 for all, 2 for IPv4, 10 for IPv6."""
        return await self._read(_routes, "get-route-list", family=family)

    async def route_add(self, ifname: str, dst: str, src: str = "", gateway: str = "", scope: int = 0) -> None:
        """Add a route. dst: prefix or `default`. scope: 0 universe, 253 link, 254 host."""
        await self._read(Shape.true, "route-add", ifname=ifname, dst=dst, src=src, gateway=gateway, scope=scope)

    async def route_del(self, ifname: str, dst: str, src: str = "", gateway: str = "", scope: int = 0) -> None:
        """Delete a route, one that has all that is given."""
        await self._read(Shape.true, "route-del", ifname=ifname, dst=dst, src=src, gateway=gateway, scope=scope)


def _texts(shape: Shape) -> tuple[str, ...]:
    return shape.items(Shape.text)


def _statuses(shape: Shape) -> tuple[FileStatus, ...]:
    return shape.items(FileStatus.read)


def _interfaces(shape: Shape) -> tuple[NetworkInterface, ...]:
    return shape.items(NetworkInterface.read)


def _routes(shape: Shape) -> tuple[Route, ...]:
    return shape.items(Route.read)


@asynccontextmanager
async def connect(
    endpoint: str | Transport,
    *,
    timeout: float | None = CALL_TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    line_limit: int = LINE_LIMIT,
    trace: Trace | None = None,
) -> AsyncIterator[Guest]:
    """Talk to a guest: `async with connect("unix:/run/web1.sock") as guest:`.

    endpoint: `unix:PATH`, a path, or a transport, which is closed at the end. timeout: of each call,
    and connect_timeout: of the connection with its handshake, in seconds; None for no limit.
    line_limit: the longest answer taken, in bytes. trace: is called with "sent" or "received" and
    the bytes of the wire.

    Raises EndpointError, ConnectFailed, GuestTimeout and LinkLost.
    """
    if isinstance(endpoint, str):
        name, transport = endpoint, await open_endpoint(endpoint)
    else:
        name, transport = type(endpoint).__name__, endpoint
    connection = await Connection.open(transport, name, timeout=connect_timeout, line_limit=line_limit, trace=trace)
    try:
        yield Guest(connection, timeout)
    finally:
        await connection.close()
