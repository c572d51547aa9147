"""The guest as an object."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypedDict

from phoenix_ga.client import timeouts
from phoenix_ga.client.attributes import Taken, Xattrs
from phoenix_ga.client.caller import Caller, read_opened
from phoenix_ga.client.commands import Commands
from phoenix_ga.client.connection import Connection, ExpectedStream, Trace
from phoenix_ga.client.digests import Verify
from phoenix_ga.client.errors import CompletedProcess, GuestTimeoutError, PhoenixError
from phoenix_ga.client.events import Events, Subscription, read_subscription
from phoenix_ga.client.files import GuestFile
from phoenix_ga.client.frozen import FreezeProgress, Frozen
from phoenix_ga.client.host_sockets import rivals
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.keepalive import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT
from phoenix_ga.client.opening import opens
from phoenix_ga.client.process import GuestProcess, Processes, start_process, start_sftp
from phoenix_ga.client.reader import Reader
from phoenix_ga.client.reconnector import Reconnector
from phoenix_ga.client.resolve import open_endpoint
from phoenix_ga.client.resume import resume_get, resume_put
from phoenix_ga.client.sockets import Backlog, GuestListener, StreamPair, make_pair
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import Progress, Transferred, copy_file, get_file, put_file
from phoenix_ga.client.transport import Transport, UnixTransport
from phoenix_ga.client.trees import TransferredTree, copy_tree, get_tree, put_tree
from phoenix_ga.client.waiting import Waiting
from phoenix_ga.wire.commands import WINDOW_DEFAULT
from phoenix_ga.wire.events import BY_NAME
from phoenix_ga.wire.messages import Request
from phoenix_ga.wire.units import LINE_LIMIT

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from phoenix_ga.client.generated.qga import QemuCommands

CONNECT_TIMEOUT: Final = 10.0
CALL_TIMEOUT: Final = 30.0


class ExecOptions(TypedDict, total=False):
    """The options of `Guest.exec` that `Guest.run` takes as well."""

    env: Mapping[str, str]
    user: str
    cwd: str
    terminal: bool
    rows: int
    columns: int
    detach: bool
    window: int


class Guest(Commands):
    """A guest, connected by `connect`. Many tasks may use it at once.

    Every method raises CommandError, GuestTimeoutError, ConnectionLostError or ProtocolError. After a
    GuestTimeoutError or ConnectionLostError, the command may or may not have run. Paths in the guest are absolute.
    """

    @property
    def name(self) -> str:
        """The endpoint, or the name of the guest, as given to `connect`."""
        return self._caller.reconnector.name

    @property
    def closed(self) -> bool:
        """Whether the connection has ended and will not be made again."""
        return self._caller.reconnector.closed

    async def close(self) -> None:
        """Close the connection; calls in flight raise ConnectionLostError. May be called twice."""
        await self._caller.reconnector.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection. Raises the error that ended it, unless `close` did."""
        await self._caller.reconnector.wait_closed()

    async def __aenter__(self) -> Guest:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @cached_property
    def processes(self) -> Processes:
        """Programs that `exec` started."""
        return Processes(self._caller)

    @cached_property
    def qga(self) -> QemuCommands:
        """The commands of the QEMU Guest Agent, such as `guest.qga.get_osinfo()`."""
        from phoenix_ga.client.generated.qga import QemuCommands

        return QemuCommands(self._caller)

    # Files

    @opens
    async def open(
        self, path: str, mode: str = "rb", permissions: int | None = None, *, unless_changed: int | None = None
    ) -> GuestFile:
        """Open a file as a file object.

        Args:
            mode: "rb" to read; "wb" to write a file that appears, complete, when it is closed.
            permissions: of a file that is written; None: those of the file that it replaces, or else 0644.
            unless_changed: fail with ESTALE unless this is `FileStatus.changed` of the file that is replaced; 0:
                there is none; None: replace any.
        """
        return await GuestFile.open(self, path, mode, permissions, unless_changed)

    async def get(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        permissions: int | None = None,
        verify: Verify = "fast",
        resume: bool = False,
        preserve: bool = False,
        xattrs: Xattrs = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a file from the guest to the host. The local file is replaced completely or not at all.

        Holes are preserved. The timeout of the guest limits the time without progress.

        Args:
            permissions: of the local file; None: those of the file that it replaces, or else those in the guest.
            verify: compare digests of both sides: "fast" or True: the fastest that both have; "sha256"; "none" or
                False.
            resume: continue an earlier transfer of the same file, and keep the data if this one fails; it is
                verified in any case.
            preserve: the local file gets permissions, modification time and, if this process is root, the numeric
                owner of the file in the guest, even if it replaces another.
            xattrs: the local file gets permissions, access control list and user attributes of the file in the guest.
                "all": also capabilities and other attributes that only root can set: the guest may send any.
            progress: is called with the bytes copied so far and the total, or None if unknown.

        Raises:
            TransferDamagedError: the digests differ.
            OSError: for the local file.
        """
        taken = Taken(permissions, preserve, xattrs)
        if resume:
            return await resume_get(self, remote, os.fspath(local), taken, verify, progress)
        return await get_file(self, remote, os.fspath(local), taken, verify, progress)

    async def put(
        self,
        local: str | os.PathLike[str],
        remote: str,
        *,
        permissions: int | None = None,
        verify: Verify = "fast",
        resume: bool = False,
        preserve: bool = False,
        xattrs: Xattrs = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Copy a regular file from the host to the guest, where it is replaced completely or not at all.

        Args:
            permissions: of the file in the guest; None: those of the file that it replaces, or else those of the
                local file.
            preserve: the file in the guest gets permissions, modification time and numeric owner of the local file,
                even if it replaces another.
            xattrs: the file in the guest gets permissions, access control list, user attributes and capabilities of
                the local file. "all": all extended attributes.
            verify, resume, progress: as in `get`.

        Raises:
            TransferDamagedError: the digests differ.
            OSError: for the local file.
        """
        taken = Taken(permissions, preserve, xattrs)
        if resume:
            return await resume_put(self, os.fspath(local), remote, taken, verify, progress)
        return await put_file(self, os.fspath(local), remote, taken, verify, progress)

    async def get_tree(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        owners: bool = False,
        set_id: bool = False,
        xattrs: Xattrs = False,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> TransferredTree:
        """Copy a directory from the guest to the directory `local` of the host, recursively.

        `local` is created if it does not exist; other files in it remain. Permissions, times, hard links and symbolic
        links are preserved. Nothing is written outside of `local`, whatever the guest sends: FIFOs, devices, and
        links that lead out of it are left out.

        Args:
            owners: apply the numeric owners; needs root.
            set_id: apply set-user-ID and set-group-ID bits.
            xattrs: apply access control lists and user attributes. "all": also capabilities and other attributes that
                only root can set: the guest may send any.
            limit: of the tar stream, in bytes.
            progress: is called with the bytes of the stream so far, and None.

        Raises:
            TransferIncompleteError: some of it could not be copied.
            ProtocolError: the guest sent an invalid tar stream.
            OSError: the host cannot continue, for example because the disk is full.
        """
        return await get_tree(self, remote, os.fspath(local), owners, set_id, xattrs, limit, progress)

    async def put_tree(
        self,
        local: str | os.PathLike[str],
        remote: str,
        *,
        owners: bool = False,
        set_id: bool = False,
        xattrs: Xattrs = False,
        progress: Progress | None = None,
    ) -> TransferredTree:
        """Copy a directory from the host to the directory `remote` of the guest, recursively.

        As `get_tree`, but includes FIFOs, devices and all links. With `xattrs`, includes capabilities.

        Raises:
            TransferIncompleteError: some of it could not be copied.
            OSError: the local directory cannot be read.
        """
        return await put_tree(self, os.fspath(local), remote, owners, set_id, xattrs, progress)

    # Freezing

    @opens
    async def frozen(
        self, *, auto_thaw: int = -1, mountpoints: Sequence[str] = (), progress: FreezeProgress | None = None
    ) -> Frozen:
        """Freeze the filesystems of the guest for the body of `async with`, and thaw them at its end.

        Leaving the body raises FreezeNotHeldError if the filesystems did not stay frozen from before its beginning
        until after its end, or if nobody can tell. What the body did is then not consistent.

        Args:
            auto_thaw: seconds until the agent thaws automatically; 0: never; -1: as configured.
            mountpoints: freeze only the filesystems that are mounted at these paths; empty: all.
            progress: is called with the name of the guest and a stage, such as `write-back`, until it is frozen.

        Raises:
            FreezeNotHeldError: there is nothing to freeze, or another program has frozen a filesystem.
        """
        return await Frozen.freeze((self,), auto_thaw, mountpoints, progress)

    # Programs

    @opens
    async def exec(
        self,
        argv: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        terminal: bool = False,
        rows: int = 24,
        columns: int = 80,
        detach: bool = False,
        window: int = WINDOW_DEFAULT,
    ) -> GuestProcess:
        """Start a program, and communicate with it while it runs.

        Args:
            argv: the program and its arguments; empty: the login shell of the user.
            env: variables to add to those of a login, such as HOME, PATH and LANG.
            user: name or number; empty: the user of the agent.
            cwd: working directory; empty: the user's home.
            terminal: give it a pseudo-terminal of `rows` and `columns` characters.
            detach: keep it running without a client; `processes.attach` attaches to it again.
            window: bytes of its output that may be in flight on each stream.
        """
        if isinstance(argv, (str, bytes)):
            raise TypeError(f'argv must be a list; for a shell command, use ["sh", "-c", {argv!r}]')
        arguments = {
            "env": dict(env or {}),
            "user": user,
            "directory": cwd,
            "terminal": terminal,
            "rows": rows,
            "columns": columns,
            "detach": detach,
        }
        return await start_process(self._caller, tuple(argv), arguments, window)

    async def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        check: bool = False,
        timeout: float | None = None,
        limit: int | None = None,
        **options: Unpack[ExecOptions],
    ) -> CompletedProcess:
        """Run a program to its end, as `subprocess.run` does.

        Args:
            argv: the program and its arguments.
            input: for its stdin.
            check: raise ProcessFailedError unless its exit status is 0.
            timeout: in seconds; then it is terminated.
            limit: of stdout and of stderr each, in bytes; raises StreamError if there is more.
            options: those of `exec`.

        Raises:
            ProcessTimeoutError: it did not end in time; has its output so far.
        """
        if not isinstance(argv, (str, bytes)) and not argv:
            raise ValueError("argv is empty; name a program, or start a login shell with exec()")
        async with self.exec(argv, **options) as process:
            completed = await process.communicate(input, limit, timeout)
        if check:
            completed.check_returncode()
        return completed

    # Waiting

    @opens
    async def waiting(self, *conditions: str, any: bool = False) -> Waiting:
        """Wait for conditions, and tell each when it is fulfilled. `wait_for` waits for all.

            async with guest.waiting("address", "port=22") as waiting:
                async for fulfilled in waiting: ...

        Args:
            conditions: as `wait-for` takes them, see docs/commands.md.
            any: end with the first that is fulfilled.

        Raises:
            CommandError: a condition is malformed (EINVAL), or the guest has no systemd (ENOTSUP).
        """
        _, streams = await self._caller.open(
            (ExpectedStream("stream", WINDOW_DEFAULT, sends=False),), "wait-for", conditions=[*conditions], any=any
        )
        return Waiting(streams["stream"], conditions, any)

    async def wait_for(self, *conditions: str, any: bool = False, timeout: float | None = None) -> dict[str, str]:
        """Wait until conditions are fulfilled, such as `address`, `port=22` or `path=/run/ready`.

        Args:
            conditions: as `wait-for` takes them, see docs/commands.md.
            any: return with the first that is fulfilled.
            timeout: in seconds; None: no limit.

        Returns:
            What was found for each fulfilled condition, such as the address.

        Raises:
            CommandError: as `waiting`.
            GuestTimeoutError: they were not fulfilled in time.
            ConnectionLostError: the agent ended; wait again after it was started.
        """
        found = {}
        async with self.waiting(*conditions, any=any) as waiting:
            try:
                async with timeouts.timeout(timeout):
                    async for fulfilled in waiting:
                        found[fulfilled.condition] = fulfilled.found
            except asyncio.TimeoutError as error:
                if isinstance(error, PhoenixError):
                    raise
                missing = ", ".join(each for each in conditions if each not in found)
                raise GuestTimeoutError(f"not fulfilled within {timeout:g} s: {missing}") from None
        return found

    @opens
    async def sftp(self, *, user: str = "", read_only: bool = False, window: int = WINDOW_DEFAULT) -> GuestProcess:
        """Start a server of SFTP version 3; its packets go through `stdin` and `stdout`.

        Args:
            user: whose rights and home it has; empty: the user of the agent.
            read_only: refuse what changes a file.
            window: bytes of its answers that may be in flight.
        """
        return await start_sftp(self._caller, user, read_only, window)

    @opens
    async def events(self, *names: str) -> Events:
        """Tell what happens in the guest, as it happens.

            async with guest.events("ADDRESS_ADDED") as events:
                async for event in events: ...

        If the guest was connected with `reconnect`, this goes on when the agent or the guest was restarted; the
        events CONNECTION_LOST and CONNECTION_RESTORED enclose what may have been missed.

        Args:
            names: of events, see docs/events.md; none: all.

        Raises:
            CommandError: there is no event of that name (EINVAL).
        """
        wanted = [name for name in names if name not in BY_NAME or not BY_NAME[name].by_client]
        # If only the client's own events are wanted, the agent is asked for one that is rare.
        wanted = wanted or (["EVENTS_LOST"] if names else [])

        async def subscribe() -> Subscription:
            expected = ExpectedStream("stream", WINDOW_DEFAULT, sends=False)
            value, streams = await self._caller.open((expected,), "events", names=wanted)
            return await read_opened(lambda reader: read_subscription(reader, streams["stream"]), value, streams)

        return Events(subscribe, await subscribe(), self._caller.reconnector.patience)

    # Sockets

    @opens
    async def connect(
        self, host: str = "", port: int = 0, path: str = "", *, timeout: int = 10, window: int = WINDOW_DEFAULT
    ) -> StreamPair:
        """Connect to a TCP port that the guest can reach, or to a Unix socket in the guest.

        Args:
            path: of a Unix socket, instead of `host` and `port`.
            timeout: for each address of the host, in seconds.
            window: bytes that may be in flight to this host.
        """
        stream = await self.connect_stream(host, port, path, timeout=timeout, window=window)
        return make_pair(stream, self._caller.reconnector.own_task)

    @opens
    async def connect_stream(
        self, host: str = "", port: int = 0, path: str = "", *, timeout: int = 10, window: int = WINDOW_DEFAULT
    ) -> GuestStream:
        """Connect as `connect` does, and return the stream itself."""
        _, streams = await self._caller.open(
            (ExpectedStream("stream", window),),
            "connect",
            host=host,
            port=port,
            path=path,
            timeout=timeout,
            window=window,
        )
        return streams["stream"]

    @opens
    async def listen(
        self, host: str = "", port: int = 0, path: str = "", *, window: int = WINDOW_DEFAULT
    ) -> GuestListener:
        """Listen in the guest, and accept the connections on the host.

        Args:
            host: address to listen on; empty: 127.0.0.1.
            port: TCP port; 0: any.
            path: of a Unix socket, instead of `host` and `port`.
            window: bytes that may be in flight to this host on each connection.
        """
        arguments = {"host": host, "port": port, "path": path, "window": window}
        connection = await self._caller.connection("listen", arguments)
        backlog = Backlog(connection, window, Request("listen", arguments))
        expected = ExpectedStream("stream", window, sends=False, on_data=backlog.receive)
        value, streams = await connection.open_streams("listen", arguments, self.timeout, (expected,))

        def read(reader: Reader) -> tuple[str, int]:
            return ("", 0) if path else (reader.member("host").text(), reader.member("port").integer())

        return GuestListener(connection, streams["stream"], backlog, *await read_opened(read, value, streams))


async def copy_between(
    source: Guest,
    path: str,
    target: Guest,
    target_path: str,
    *,
    verify: Verify = "fast",
    preserve: bool = False,
    xattrs: Xattrs = False,
    progress: Progress | None = None,
) -> Transferred:
    """Copy a file from one guest to another, through this host. See `Guest.get` and `Guest.put`."""
    taken = Taken(preserve=preserve, xattrs=xattrs)
    return await copy_file(source, path, target, target_path, taken, verify, progress)


async def copy_tree_between(
    source: Guest,
    path: str,
    target: Guest,
    target_path: str,
    *,
    owners: bool = False,
    set_id: bool = False,
    xattrs: Xattrs = False,
    progress: Progress | None = None,
) -> TransferredTree:
    """Copy a directory from one guest to another, through this host. See `Guest.put_tree`.

    The host does not examine the stream: the agent of `target` writes nothing outside of its directory.
    """
    return await copy_tree(source, path, target, target_path, owners, set_id, xattrs, progress)


@opens
async def connect(
    endpoint: str | KnownGuest | Transport,
    *,
    timeout: float | None = CALL_TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    line_limit: int = LINE_LIMIT,
    trace: Trace | None = None,
    reconnect: float | None = None,
    allow_tcp: bool = False,
    direct: bool = False,
    keepalive_interval: float | None = KEEPALIVE_INTERVAL,
    keepalive_timeout: float = KEEPALIVE_TIMEOUT,
    on_busy: Callable[[str], None] | None = None,
) -> Guest:
    """Connect to a guest.

        async with connect("web1") as guest: ...
        guest = await connect("unix:/run/web1.sock")

    Args:
        endpoint: the name of a guest, an endpoint (`unix:PATH` or a path, `vsock:CID[:PORT]`, `pty:PATH`,
            `tcp:HOST:PORT`), a KnownGuest, or a Transport, which is closed at the end.
        timeout: of each call, in seconds; None: no limit.
        connect_timeout: of connecting and the handshake, in seconds; None: no limit.
        line_limit: the longest answer accepted, in bytes.
        trace: is called with "sent" or "received" and the bytes.
        reconnect: seconds to keep trying, at first and for the first call after the connection was lost; None: do
            not. Calls in flight raise ConnectionLostError all the same, and streams end.
        allow_tcp: permit TCP, which is neither encrypted nor authenticated.
        direct: use the port of the guest in any case; else a hub is used if one offers the guest.
        keepalive_interval: seconds of silence, while streams are open or answers are due, before the agent is asked
            whether it is still there; None: never.
        keepalive_timeout: seconds that it has to answer; then the connection is lost. Raise it if the guest may be
            paused.
        on_busy: is called once with a text if another client has the port. It is waited for.

    Raises:
        EndpointError: the endpoint is malformed, unknown or not permitted.
        ConnectError: it cannot be opened.
        GuestTimeoutError: no agent answered.
        ConnectionLostError: the connection ended during the handshake.
    """
    if reconnect is not None and not isinstance(endpoint, (str, KnownGuest)):
        raise ValueError("a transport cannot be reconnected; give an endpoint")

    async def open_one() -> Connection:
        began = asyncio.get_running_loop().time()
        if isinstance(endpoint, (str, KnownGuest)):
            name = endpoint if isinstance(endpoint, str) else endpoint.name
            try:
                async with timeouts.timeout(connect_timeout):
                    transport = await open_endpoint(endpoint, allow_tcp, direct)
            except asyncio.TimeoutError:
                raise GuestTimeoutError(f"{name}: no connection within {connect_timeout:g} s") from None
        else:
            name, transport = type(endpoint).__name__, endpoint
        return await Connection.open(
            transport,
            name,
            rivals=partial(rivals, transport.peer_path, transport.inode)
            if isinstance(transport, UnixTransport)
            else None,
            on_busy=on_busy,
            timeout=connect_timeout,
            began=began,
            line_limit=line_limit,
            trace=trace,
            keepalive_interval=keepalive_interval,
            keepalive_timeout=keepalive_timeout,
        )

    return Guest(Caller(await Reconnector.open(open_one, reconnect), timeout))
