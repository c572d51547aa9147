"""The same guest for programs without asyncio: a thin face over a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ga.client.connection import Trace
from phoenix_ga.client.guest import CALL_TIMEOUT, CONNECT_TIMEOUT, Guest, connect
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.process import CompletedProcess, GuestProcess
from phoenix_ga.client.transport import Transport
from phoenix_ga.client.trees import DirectoryStream
from phoenix_ga.wire.units import LINE_LIMIT

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Concatenate, ParamSpec, Self

    Parameters = ParamSpec("Parameters")

Result = TypeVar("Result")


class _LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="phoenix-guest", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine, and return its result. An interrupt cancels it and waits for its end."""
        future = asyncio.run_coroutine_threadsafe(_kept(work), self._loop)
        try:
            task, ended = future.result()
        except BaseException:
            future.cancel()
            raise
        try:
            ended.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            ended.wait()
            raise
        return task.result()

    def close(self) -> None:
        """Stop the thread."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _kept(work: Coroutine[Any, Any, Result]) -> tuple[asyncio.Task[Result], threading.Event]:
    """Begin `work`; return its task, and what is set at its end."""
    ended = threading.Event()
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda _: ended.set())
    return task, ended


def _blocking(
    method: Callable[Concatenate[Guest, Parameters], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[SyncGuest, Parameters], Result]:
    """Return the method of SyncGuest that runs a coroutine method of Guest."""

    @functools.wraps(method)
    def blocking(self: SyncGuest, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self._thread.run(method(self._guest, *args, **kwargs))

    return blocking


class _SyncObject:
    """Something of a guest, used without asyncio. A context manager, as what it stands for."""

    def __init__(self, thread: _LoopThread, inner: Any) -> None:
        self._thread = thread
        self._inner = inner

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.run(self._inner.__aexit__(kind, error, traceback))


class SyncStream(_SyncObject):
    """A `GuestStream` without asyncio. Two threads may use it, one to read and one to write."""

    @property
    def message(self) -> dict[str, Any] | None:
        """The guest's last words, when all was read; None before."""
        message: dict[str, Any] | None = self._inner.message
        return message

    def read(self) -> bytes:
        """Return what came, at least one byte; none at the end."""
        data: bytes = self._thread.run(self._inner.read())
        return data

    def read_all(self, limit: int | None = None) -> bytes:
        """Return all that comes; see `GuestStream.read_all`."""
        data: bytes = self._thread.run(self._inner.read_all(limit))
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        self._thread.run(self._inner.write(data))

    def end(self, message: dict[str, Any] | None = None) -> None:
        """Send no more."""
        self._thread.run(self._inner.end(message))

    def reset(self) -> None:
        """End both directions at once."""
        self._thread.run(self._inner.reset())


class SyncDirectoryStream(_SyncObject):
    """A `DirectoryStream` without asyncio."""

    def __init__(self, thread: _LoopThread, opened: DirectoryStream) -> None:
        super().__init__(thread, opened)
        self.stream = SyncStream(thread, opened.stream)
        self.stderr = SyncStream(thread, opened.stderr)


class SyncFile(_SyncObject):
    """A `GuestFile` without asyncio."""

    def tell(self) -> int:
        """Return where the next byte is read or written."""
        offset: int = self._inner.tell()
        return offset

    def seek(self, offset: int) -> None:
        """Read from `offset` on."""
        self._thread.run(self._inner.seek(offset))

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; -1: all that are left."""
        data: bytes = self._thread.run(self._inner.read(size))
        return data

    def write(self, data: bytes) -> int:
        """Append to the file; return the number of bytes."""
        size: int = self._thread.run(self._inner.write(data))
        return size

    def close(self) -> None:
        """Close the file. One that was written is in its place then."""
        self._thread.run(self._inner.close())


class SyncProcess(_SyncObject):
    """A `GuestProcess` without asyncio."""

    def __init__(self, thread: _LoopThread, process: GuestProcess) -> None:
        super().__init__(thread, process)
        self.pid = process.pid
        self.stdin = self.stdout = SyncStream(thread, process.stdout)
        self.stderr = None if process.stderr is None else SyncStream(thread, process.stderr)

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` has it; None before all of `stdout` was read."""
        returncode: int | None = self._inner.returncode
        return returncode

    def wait(self) -> int:
        """Return how it ended. What it writes to stdout until then is dropped."""
        returncode: int = self._thread.run(self._inner.wait())
        return returncode

    def communicate(self, input: bytes = b"", limit: int | None = None) -> CompletedProcess:
        """Write `input`, read all that it writes, and return what became of it."""
        completed: CompletedProcess = self._thread.run(self._inner.communicate(input, limit))
        return completed

    def send_signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._thread.run(self._inner.send_signal(number))

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self._thread.run(self._inner.terminate())

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self._thread.run(self._inner.kill())

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal that the window has another size."""
        self._thread.run(self._inner.resize(rows, columns))


class SyncListener(_SyncObject):
    """A `GuestListener` without asyncio."""

    @property
    def host(self) -> str:
        """Where it listens; empty on a Unix socket."""
        host: str = self._inner.host
        return host

    @property
    def port(self) -> int:
        """Where it listens; 0 on a Unix socket."""
        port: int = self._inner.port
        return port

    def accept(self) -> SyncStream:
        """Return the stream of the next connection."""
        return SyncStream(self._thread, self._thread.run(self._inner.accept_stream()))

    def close(self) -> None:
        """Listen no more."""
        self._thread.run(self._inner.close())


class SyncGuest:
    """A guest to talk to without asyncio, made by `connect_sync`. May be used from many threads.

    Its methods are those of `Guest`, which tells of them; each returns when the answer is there. A
    progress function is called in another thread.
    """

    def __init__(self, thread: _LoopThread, guest: Guest) -> None:
        self._thread = thread
        self._guest = guest

    def __repr__(self) -> str:
        return f"<Sync{repr(self._guest)[1:]}"

    @property
    def name(self) -> str:
        """The endpoint, as it was given to `connect_sync`."""
        return self._guest.name

    @property
    def timeout(self) -> float | None:
        """The time-out of each call, in seconds; None for no limit."""
        return self._guest.timeout

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._guest.closed

    def with_timeout(self, timeout: float | None) -> SyncGuest:
        """Return this guest, over the same connection, with another time-out for each call."""
        return SyncGuest(self._thread, self._guest.with_timeout(timeout))

    close = _blocking(Guest.close)
    wait_closed = _blocking(Guest.wait_closed)
    execute = _blocking(Guest.execute)
    ping = _blocking(Guest.ping)
    sync = _blocking(Guest.sync)
    get_commands = _blocking(Guest.get_commands)
    agent_shutdown = _blocking(Guest.agent_shutdown)
    sysinfo = _blocking(Guest.sysinfo)
    file_open = _blocking(Guest.file_open)
    file_read = _blocking(Guest.file_read)
    file_write = _blocking(Guest.file_write)
    file_close = _blocking(Guest.file_close)
    get_file_md5sum = _blocking(Guest.get_file_md5sum)
    get_file_sha256sum = _blocking(Guest.get_file_sha256sum)
    file_chown = _blocking(Guest.file_chown)
    file_chmod = _blocking(Guest.file_chmod)
    file_stat = _blocking(Guest.file_stat)
    directory_create = _blocking(Guest.directory_create)
    directory_list = _blocking(Guest.directory_list)
    get = _blocking(Guest.get)
    put = _blocking(Guest.put)
    get_tree = _blocking(Guest.get_tree)
    put_tree = _blocking(Guest.put_tree)
    run = _blocking(Guest.run)
    exec_signal = _blocking(Guest.exec_signal)
    exec_resize = _blocking(Guest.exec_resize)
    exec_list = _blocking(Guest.exec_list)

    def file_get(self, *args: Any, **kwargs: Any) -> SyncStream:
        """Open a stream of what is in a file; see `Guest.file_get`."""
        return SyncStream(self._thread, self._thread.run(self._guest.file_get(*args, **kwargs)).stream)

    def file_put(self, *args: Any, **kwargs: Any) -> SyncStream:
        """Open a stream to a file that appears when all has come; see `Guest.file_put`."""
        return SyncStream(self._thread, self._thread.run(self._guest.file_put(*args, **kwargs)))

    def directory_get(self, *args: Any, **kwargs: Any) -> SyncDirectoryStream:
        """Open a tar stream of a directory; see `Guest.directory_get`."""
        return SyncDirectoryStream(self._thread, self._thread.run(self._guest.directory_get(*args, **kwargs)))

    def directory_put(self, *args: Any, **kwargs: Any) -> SyncDirectoryStream:
        """Open a tar stream that is unpacked in the guest; see `Guest.directory_put`."""
        return SyncDirectoryStream(self._thread, self._thread.run(self._guest.directory_put(*args, **kwargs)))

    def open(self, path: str, mode: str = "rb", perm: int = 0o644) -> SyncFile:
        """Open a file as an object; see `Guest.open`."""
        return SyncFile(self._thread, self._thread.run(self._guest.open(path, mode, perm)))

    def exec(self, *args: Any, **kwargs: Any) -> SyncProcess:
        """Start a program; see `Guest.exec`."""
        return SyncProcess(self._thread, self._thread.run(self._guest.exec(*args, **kwargs)))

    def exec_attach(self, *args: Any, **kwargs: Any) -> SyncProcess:
        """Get the streams of a detached process; see `Guest.exec_attach`."""
        return SyncProcess(self._thread, self._thread.run(self._guest.exec_attach(*args, **kwargs)))

    def popen(self, *argv: str, **options: Any) -> SyncProcess:
        """Start a program; see `Guest.popen`."""
        return self.exec(argv, **options)

    def connect(self, *args: Any, **kwargs: Any) -> SyncStream:
        """Connect to a socket that the guest can reach; see `Guest.connect`. Returns the stream itself."""
        return self.connect_stream(*args, **kwargs)

    def connect_stream(self, *args: Any, **kwargs: Any) -> SyncStream:
        """Connect to a socket that the guest can reach; see `Guest.connect`."""
        return SyncStream(self._thread, self._thread.run(self._guest.connect_stream(*args, **kwargs)))

    def listen(self, *args: Any, **kwargs: Any) -> SyncListener:
        """Listen in the guest; see `Guest.listen`."""
        return SyncListener(self._thread, self._thread.run(self._guest.listen(*args, **kwargs)))

    fs_freeze = _blocking(Guest.fs_freeze)
    fs_unfreeze = _blocking(Guest.fs_unfreeze)
    get_freeze_status = _blocking(Guest.get_freeze_status)
    get_freeze_details = _blocking(Guest.get_freeze_details)
    get_netifaces = _blocking(Guest.get_netifaces)
    ipaddr_add = _blocking(Guest.ipaddr_add)
    ipaddr_del = _blocking(Guest.ipaddr_del)
    net_iface_up = _blocking(Guest.net_iface_up)
    net_iface_down = _blocking(Guest.net_iface_down)
    get_route_list = _blocking(Guest.get_route_list)
    route_add = _blocking(Guest.route_add)
    route_del = _blocking(Guest.route_del)


@contextmanager
def connect_sync(
    endpoint: str | KnownGuest | Transport,
    *,
    timeout: float | None = CALL_TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    line_limit: int = LINE_LIMIT,
    trace: Trace | None = None,
    reconnect: float | None = None,
    allow_tcp: bool = False,
) -> Iterator[SyncGuest]:
    """Talk to a guest without asyncio: `with connect_sync("unix:/run/web1.sock") as guest:`.

    Arguments and errors are those of `connect`.
    """
    thread = _LoopThread()
    try:
        connection = connect(
            endpoint,
            timeout=timeout,
            connect_timeout=connect_timeout,
            line_limit=line_limit,
            trace=trace,
            reconnect=reconnect,
            allow_tcp=allow_tcp,
        )
        guest = thread.run(connection.__aenter__())
        try:
            yield SyncGuest(thread, guest)
        finally:
            thread.run(guest.close())
            thread.run(connection.__aexit__(None, None, None))
    finally:
        thread.close()
