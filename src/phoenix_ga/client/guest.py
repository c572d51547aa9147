"""The guest as an object: one method for each command, and whole files in both directions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from phoenix_ga.client import timeouts
from phoenix_ga.client.connection import Connection, ExpectedStream, Trace
from phoenix_ga.client.endpoints import open_endpoint
from phoenix_ga.client.errors import GuestError, GuestTimeout, ProtocolViolation, met_by
from phoenix_ga.client.files import FileStream, GuestFile
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.link import Link
from phoenix_ga.client.models import FilePiece, FileStatus, FreezeDetails, NetworkInterface, Route, SystemInformation
from phoenix_ga.client.process import CompletedProcess, GuestProcess, ProcessInformation, read_processes
from phoenix_ga.client.resume import resume_get, resume_put
from phoenix_ga.client.shapes import Shape, ShapeError
from phoenix_ga.client.sockets import Backlog, GuestListener, StreamPair, make_pair
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import Progress, Transferred, get_file, put_file, relay_file
from phoenix_ga.client.transport import Transport
from phoenix_ga.client.trees import DirectoryStream, TransferredTree, get_tree, put_tree, relay_tree
from phoenix_ga.wire.base64_text import encode_base64
from phoenix_ga.wire.commands import AF_UNSPEC, READ_COUNT_DEFAULT, WINDOW_DEFAULT
from phoenix_ga.wire.declaration import INT64_MAX
from phoenix_ga.wire.messages import Request
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

    def __init__(self, link: Link, timeout: float | None = CALL_TIMEOUT) -> None:
        self._link = link
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<Guest over {self._link!r}>"

    @property
    def name(self) -> str:
        """The endpoint, as it was given to `connect`."""
        return self._link.name

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, and no other one is made."""
        return self._link.closed

    async def close(self) -> None:
        """End the connection; calls under way raise LinkLost. May be called twice."""
        await self._link.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection. Raises what ended it, if that was not `close`."""
        await self._link.wait_closed()

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
        return Guest(self._link, timeout)

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
        connection = await self._connection(command, arguments or {})
        return await connection.call(command, arguments or {}, limit)

    async def _connection(self, command: str, arguments: dict[str, Any]) -> Connection:
        """Return the connection for a request."""
        with met_by(Request(command, arguments)):
            return await self._link.connection()

    async def _read(self, read: Callable[[Shape], Result], command: str, **arguments: Any) -> Result:
        """Run a command and return what `read` makes of its answer."""
        value = await self.execute(command, arguments)
        try:
            return read(Shape(value))
        except ShapeError as error:
            raise ProtocolViolation(str(error), Request(command, arguments)) from None

    async def _open(
        self, expected: Sequence[ExpectedStream], command: str, **arguments: Any
    ) -> tuple[Any, dict[str, GuestStream]]:
        """Run a command that opens streams; return its answer and these."""
        connection = await self._connection(command, arguments)
        return await connection.open_streams(command, arguments, self.timeout, expected)

    async def _shaped(self, read: Callable[[Shape], Result], value: Any, streams: dict[str, GuestStream]) -> Result:
        """Return what `read` makes of an answer; where that is nothing, the streams are closed."""
        try:
            return read(Shape(value))
        except ShapeError as error:
            for stream in streams.values():
                await stream.reset()
            request = next(stream.request for stream in streams.values())
            raise ProtocolViolation(str(error), request) from None

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

    async def get_file_sha256sum(self, path: str, length: int = INT64_MAX) -> str:
        """Return the SHA-256 digest of the first `length` bytes of a file, in hex."""
        return await self._read(Shape.text, "get-file-sha256sum", path=path, length=length)

    async def file_chown(self, path: str, uid: int = 0, gid: int = 0, user: str = "", group: str = "") -> None:
        """Change owner and group of a file.

        uid, gid: by number; -1: it stays. user, group: by name, as the guest knows it, in their place.
        """
        await self._read(Shape.true, "file-chown", path=path, uid=uid, gid=gid, user=user, group=group)

    async def file_chmod(self, path: str, perm: int) -> None:
        """Change the permissions of a file."""
        await self._read(Shape.true, "file-chmod", path=path, perm=perm)

    async def file_stat(self, path: str, follow: bool = False, names: bool = False) -> FileStatus:
        """Return what lstat(2) tells of a path.

        follow: follow a symbolic link, as stat(2) does. names: tell the names of the owners, and what a
        symbolic link holds.
        """
        return await self._read(FileStatus.read, "file-stat", path=path, follow=follow, names=names)

    async def directory_create(self, path: str, perm: int = 0o755, parents: bool = True) -> None:
        """Make a directory.

        parents: make the parents that it lacks as well, and take one that exists; else both are errors.
        """
        await self._read(Shape.true, "directory-create", path=path, perm=perm, parents=parents)

    async def directory_list(self, path: str, n: int = 0, names: bool = False) -> tuple[FileStatus, ...]:
        """Return the entries of a directory, `n` at most; 0: all. names: as `file_stat`."""
        return await self._read(_statuses, "directory-list", path=path, n=n, names=names)

    async def file_get(
        self,
        path: str,
        offset: int = 0,
        length: int = INT64_MAX,
        window: int = WINDOW_DEFAULT,
        digest: bool = True,
        sparse: bool = False,
    ) -> FileStream:
        """Open a stream of what is in a file; `get` copies one whole.

        window: how many bytes may be under way. digest: let the closing message tell the SHA-256.
        sparse: leave out holes, which `GuestStream.read_piece` gives as a Skip.
        """
        expected = ExpectedStream("stream", window, sends=False, skips=sparse)
        value, streams = await self._open(
            (expected,),
            "file-get",
            path=path,
            offset=offset,
            length=length,
            window=window,
            digest=digest,
            sparse=sparse,
        )
        return await self._shaped(lambda shape: FileStream.read(shape, streams["stream"]), value, streams)

    async def file_put(
        self,
        path: str,
        perm: int = 0o644,
        uid: int = -1,
        gid: int = -1,
        digest: bool = True,
        part: str = "",
        offset: int = 0,
    ) -> GuestStream:
        """Open a stream to a file that appears when all has come; `put` copies one whole.

        uid, gid: -1 for those of the file that it replaces. digest: compare the SHA-256 of both sides.
        part: a name under which the guest keeps what has come, where the rest does not. offset: how much
        of what was kept is taken over, in bytes.
        """
        _, streams = await self._open(
            (ExpectedStream("stream"),),
            "file-put",
            path=path,
            perm=perm,
            uid=uid,
            gid=gid,
            digest=digest,
            part=part,
            offset=offset,
        )
        return streams["stream"]

    async def directory_get(self, path: str, window: int = WINDOW_DEFAULT) -> DirectoryStream:
        """Open a tar stream of a directory with all that is in it; `get_tree` unpacks one.

        window: how many bytes may be under way.
        """
        expected = [ExpectedStream(name, window, sends=False) for name in ("stream", "stderr")]
        _, streams = await self._open(expected, "directory-get", path=path, window=window)
        return DirectoryStream(streams["stream"], streams["stderr"])

    async def directory_put(
        self, path: str, owners: bool = False, set_id: bool = False, window: int = WINDOW_DEFAULT
    ) -> DirectoryStream:
        """Open a tar stream that is unpacked below a directory of the guest; `put_tree` makes one.

        owners, set_id: take over the numeric owners, and the set-user-ID and set-group-ID bits. window:
        how many bytes the guest may send at once of what it has to tell.
        """
        expected = [ExpectedStream("stream", window, ends_both=True), ExpectedStream("stderr", window, sends=False)]
        _, streams = await self._open(
            expected, "directory-put", path=path, owners=owners, set_id=set_id, window=window
        )
        return DirectoryStream(streams["stream"], streams["stderr"])

    async def open(self, path: str, mode: str = "rb", perm: int = 0o644) -> GuestFile:
        """Open a file as an object to read from or write to, to be used with `async with`.

        mode: "rb", or "wb": what is written appears whole, when the file is closed.
        """
        return await GuestFile.open(self, path, mode, perm)

    async def get(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        mode: int | None = None,
        verify: bool = True,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a file of the guest to this host. The local file appears whole or not at all.

        Holes stay holes. mode: permissions of the local file; None: as in the guest. verify: compare the
        SHA-256 of both sides. resume: go on where an earlier get of the same file stopped, and keep what
        has come where this one stops; it always verifies.
        progress: is called with the bytes copied so far, and all that there are or None. Raises
        OSError for the local file, TransferDamaged, and what every method raises.
        """
        if resume:
            return await resume_get(self, remote, os.fspath(local), mode, progress)
        return await get_file(self, remote, os.fspath(local), mode, verify, progress)

    async def put(
        self,
        local: str | os.PathLike[str],
        remote: str,
        *,
        mode: int | None = None,
        verify: bool = True,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a regular file of this host to the guest, where it appears whole or not at all.

        Holes stay holes. mode: permissions of the file in the guest; None: as here. verify, resume,
        progress and errors: as with `get`.
        """
        if resume:
            return await resume_put(self, os.fspath(local), remote, mode, progress)
        return await put_file(self, os.fspath(local), remote, mode, verify, progress)

    async def get_tree(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        owners: bool = False,
        set_id: bool = False,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> TransferredTree:
        """Copy a directory of the guest, with all that is in it, to the directory `local` of this host.

        `local` is made with its parents where it is missing, and what else is there stays. Each file appears
        whole or not at all. Permissions, times, hard and symbolic links are kept. Nothing is written outside
        of `local`, whatever the guest sends; FIFOs, devices, and links that lead out of it are left out.
        owners: take over the numeric owners, where this program is root. set_id: take over the set-user-ID
        and set-group-ID bits. limit: of the tar stream, in bytes. progress: is called with the bytes of the
        stream so far, and None.

        Raises TransferIncomplete where some of it could not be copied, ProtocolViolation for what is no
        sound tar stream, OSError where this host can't go on, such as with a full disk (ENOTSUP: this Python
        is too old to be safe), and what every method raises.
        """
        return await get_tree(self, remote, os.fspath(local), owners, set_id, limit, progress)

    async def put_tree(
        self,
        local: str | os.PathLike[str],
        remote: str,
        *,
        owners: bool = False,
        set_id: bool = False,
        progress: Progress | None = None,
    ) -> TransferredTree:
        """Copy a directory of this host, with all that is in it, to the directory `remote` of the guest.

        As `get_tree`, with FIFOs, devices and all links. owners: where the agent is root.
        """
        return await put_tree(self, os.fspath(local), remote, owners, set_id, progress)

    # Processes

    async def exec(
        self,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        user: str = "",
        directory: str = "",
        terminal: bool = False,
        rows: int = 24,
        columns: int = 80,
        detach: bool = False,
        window: int = WINDOW_DEFAULT,
    ) -> GuestProcess:
        """Start a program, and talk to it while it runs.

        argv: the program and its arguments; none: the login shell of the user. env: besides HOME, PATH
        and the like. user, directory: empty for the agent's own user, and the user's home. terminal:
        give it a pseudo-terminal of that many rows and columns. detach: it goes on when its context is left
        or the connection ends, for `attach`. window: how many bytes of its output may be under way.
        """
        expected = [_main_stream(window)]
        if not terminal:
            expected.append(ExpectedStream("stderr", window, sends=False))
        value, streams = await self._open(
            expected,
            "exec",
            argv=list(argv),
            env=dict(env or {}),
            user=user,
            directory=directory,
            terminal=terminal,
            rows=rows,
            columns=columns,
            detach=detach,
            window=window,
        )
        pid = await self._shaped(lambda shape: shape.member("pid").integer(), value, streams)
        return GuestProcess(self, tuple(argv), pid, streams["stream"], streams.get("stderr"))

    async def exec_list(self) -> tuple[ProcessInformation, ...]:
        """List the processes that `exec` started: those that run, and those that ended detached."""
        return await self._read(read_processes, "exec-list")

    async def exec_attach(self, pid: int, window: int = WINDOW_DEFAULT) -> GuestProcess:
        """Get the streams of a process that was started with `detach`.

        Raises GuestRefused, a ProcessLookupError where there is none, with EBUSY where another client has them.
        """
        expected = [_main_stream(window), ExpectedStream("stderr", window, sends=False, optional=True)]
        value, streams = await self._open(expected, "exec-attach", pid=pid, window=window)

        def read(shape: Shape) -> tuple[int, tuple[str, ...]]:
            return shape.member("pid").integer(), shape.member("argv").items(Shape.text)

        pid, argv = await self._shaped(read, value, streams)
        return GuestProcess(self, argv, pid, streams["stream"], streams.get("stderr"))

    async def popen(self, /, *argv: str, **options: Any) -> GuestProcess:
        """Start a program as `asyncio.create_subprocess_exec` does. options: those of `exec`."""
        return await self.exec(argv, **options)

    async def run(
        self,
        /,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        check: bool = False,
        timeout: float | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> CompletedProcess:
        """Run a program to its end, as `subprocess.run` does, and return what became of it.

        input: for its stdin. check: raise ProcessFailed unless its exit status is 0. timeout: in seconds,
        after which it is ended and GuestTimeout raised. limit: of stdout and stderr, in bytes. options:
        those of `exec`.
        """
        async with await self.exec(argv, **options) as process:
            try:
                async with timeouts.timeout(timeout):
                    completed = await process.communicate(input, limit)
            except asyncio.TimeoutError as error:
                if isinstance(error, GuestError):
                    raise
                text = f"{process.argv[0]} did not end within {timeout:g} s"
                raise GuestTimeout(text, process.stdout.request) from None
        if check:
            completed.check_returncode()
        return completed

    async def exec_signal(self, pid: int, signal: int) -> None:
        """Send a signal to the process group of a process that `exec` started."""
        await self._read(Shape.true, "exec-signal", pid=pid, signal=signal)

    async def exec_resize(self, pid: int, rows: int, columns: int) -> None:
        """Tell the terminal of a process that its window has another size."""
        await self._read(Shape.true, "exec-resize", pid=pid, rows=rows, columns=columns)

    # Sockets

    async def connect(
        self, host: str = "", port: int = 0, path: str = "", timeout: int = 10, window: int = WINDOW_DEFAULT
    ) -> StreamPair:
        """Connect to a TCP port that the guest can reach, or to the Unix socket at `path` in the guest.

        timeout: of each address of the host, in seconds. Returns a pair of asyncio's streams.
        """
        stream = await self.connect_stream(host, port, path, timeout, window)
        return make_pair(stream, self._link.keep)

    async def connect_stream(
        self, host: str = "", port: int = 0, path: str = "", timeout: int = 10, window: int = WINDOW_DEFAULT
    ) -> GuestStream:
        """Do what `connect` does, and return the stream itself."""
        _, streams = await self._open(
            (ExpectedStream("stream", window),),
            "connect",
            host=host,
            port=port,
            path=path,
            timeout=timeout,
            window=window,
        )
        return streams["stream"]

    async def listen(
        self, host: str = "", port: int = 0, path: str = "", window: int = WINDOW_DEFAULT
    ) -> GuestListener:
        """Listen in the guest, on TCP or at `path`, and take the connections here.

        host: empty for 127.0.0.1. port: 0 for any.
        """
        arguments = {"host": host, "port": port, "path": path, "window": window}
        connection = await self._connection("listen", arguments)
        backlog = Backlog(connection, window, Request("listen", arguments))
        value, streams = await connection.open_streams(
            "listen",
            arguments,
            self.timeout,
            (ExpectedStream("stream", window, sends=False, look=backlog.take),),
        )

        def read(shape: Shape) -> tuple[str, int]:
            return ("", 0) if path else (shape.member("host").text(), shape.member("port").integer())

        address = await self._shaped(read, value, streams)
        return GuestListener(connection, streams["stream"], backlog, *address)

    # Filesystems

    async def fs_freeze(self, deadline: int | None = None) -> None:
        """Freeze every local filesystem, until `fs_unfreeze`. After a GuestTimeout ask for the status.

        deadline: after how many seconds the agent thaws by itself; 0 for never, None for what it is
        configured to.
        """
        await self._read(Shape.true, "fs-freeze", **({} if deadline is None else {"timeout": deadline}))

    async def fs_unfreeze(self) -> None:
        """Thaw what is frozen. Nothing frozen is fine."""
        await self._read(Shape.true, "fs-unfreeze")

    async def get_freeze_status(self) -> bool:
        """Tell whether filesystems are frozen."""
        return await self._read(Shape.boolean, "get-freeze-status")

    async def get_freeze_details(self) -> FreezeDetails:
        """Tell whether filesystems are frozen, for how long still, and how the last freeze ended."""
        return await self._read(FreezeDetails.read, "get-freeze-status", details=True)

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


async def copy_between(
    source: Guest,
    path: str,
    target: Guest,
    target_path: str,
    *,
    verify: bool = True,
    progress: Progress | None = None,
) -> Transferred:
    """Copy a file of one guest to another one, through this host, as a stream. Both may be the same.

    As `Guest.get` and `Guest.put`.
    """
    return await relay_file(source, path, target, target_path, verify, progress)


async def copy_tree_between(
    source: Guest,
    path: str,
    target: Guest,
    target_path: str,
    *,
    owners: bool = False,
    set_id: bool = False,
    progress: Progress | None = None,
) -> TransferredTree:
    """Copy a directory of one guest to another one, through this host, as a stream. Both may be the same.

    As `Guest.put_tree`. What comes is not looked at here: the agent of `target` lets nothing out of its
    directory.
    """
    return await relay_tree(source, path, target, target_path, owners, set_id, progress)


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
    endpoint: str | KnownGuest | Transport,
    *,
    timeout: float | None = CALL_TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    line_limit: int = LINE_LIMIT,
    trace: Trace | None = None,
    reconnect: float | None = None,
    allow_tcp: bool = False,
) -> AsyncIterator[Guest]:
    """Talk to a guest: `async with connect("unix:/run/web1.sock") as guest:`.

    endpoint: the name of a guest, or one that is known; `unix:PATH` or a path, `vsock:CID[:PORT]`, `pty:PATH`,
    `tcp:HOST:PORT`; or a transport, which is closed at the end. timeout: of each call,
    and connect_timeout: of the connection with its handshake, in seconds; None for no limit.
    line_limit: the longest answer taken, in bytes. trace: is called with "sent" or "received" and
    the bytes of the wire. reconnect: for how long to try again where nobody answers, at first and for the
    call that comes after the connection was lost, in seconds; None: not at all. A call that is under way
    when the link dies raises LinkLost all the same, and streams do not outlive it. allow_tcp: TCP, which
    nothing protects on its way, is refused without it.

    Raises EndpointError, ConnectFailed, GuestTimeout and LinkLost, and ValueError where a transport, which
    can be used once, is to be connected again.
    """
    if reconnect is not None and not isinstance(endpoint, (str, KnownGuest)):
        raise ValueError("a transport can't be connected again; give the endpoint as text")

    async def open_one() -> Connection:
        if isinstance(endpoint, (str, KnownGuest)):
            name = endpoint if isinstance(endpoint, str) else endpoint.name
            transport = await open_endpoint(endpoint, allow_tcp)
        else:
            name, transport = type(endpoint).__name__, endpoint
        return await Connection.open(transport, name, timeout=connect_timeout, line_limit=line_limit, trace=trace)

    link = await Link.open(open_one, reconnect)
    try:
        yield Guest(link, timeout)
    finally:
        await link.close()


def _main_stream(window: int) -> ExpectedStream:
    """Return what is expected of stdin and stdout of a process."""
    return ExpectedStream("stream", window, ends_both=True)
