"""Commands that open streams."""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENOTDIR, ESPIPE

from phoenix_ga.agent.operations import files
from phoenix_ga.agent.protocol.call import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def file_get(
    context: Context, path: str, offset: int, length: int, window: int, digest: bool, sparse: bool
) -> Opened:
    from phoenix_ga.agent.endpoints.file_source import FileSource

    file = files.open_to_read(path)
    try:
        status = os.fstat(file.fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise OSError(ESPIPE, "it is no regular file and no block device; exec can read it with cat", path)
        os.set_blocking(file.fd, True)
        source = FileSource(file.fd, offset, length, digest, sparse, context.throttle)
    except BaseException:
        os.close(file.fd)
        raise
    answer = {"size": status.st_size, "mode": stat.S_IMODE(status.st_mode), "mtime": status.st_mtime_ns}
    return Opened(answer, {"stream": source}, window)


def file_put(
    context: Context, path: str, perm: int, uid: int, gid: int, digest: bool, part: str, offset: int
) -> Opened:
    from phoenix_ga.agent.endpoints.file_sink import FileSink
    from phoenix_ga.agent.operations.replacement import Replacement

    if offset and not part:
        raise OSError(EINVAL, "an offset needs the name of the part that is continued")
    sink = FileSink(Replacement(path, perm, uid, gid, part, offset), digest, context.throttle)
    return Opened({"window": sink.window}, {"stream": sink}, 0)


def directory_get(context: Context, path: str, window: int) -> Opened:
    if not stat.S_ISDIR(os.stat(files.encode_path(path)).st_mode):
        raise OSError(ENOTDIR, os.strerror(ENOTDIR), path)
    process = _start_archiver(context, "get", path)
    process.main.close_stdin()
    return Opened({}, {"stream": process.main, "stderr": process.error}, window)


def directory_put(context: Context, path: str, owners: bool, set_id: bool, window: int) -> Opened:
    name = files.encode_path(path)
    is_new = not os.path.isdir(name)
    if is_new and os.path.lexists(name):
        raise OSError(ENOTDIR, os.strerror(ENOTDIR), path)
    files.make_directories(path, 0o755)
    flags = {"new": is_new, "owners": owners, "set-id": set_id}
    process = _start_archiver(context, "put", path, *(flag for flag in flags if flags[flag]))
    return Opened({"window": process.main.window}, {"stream": process.main, "stderr": process.error}, window)


def _start_archiver(context: Context, action: str, path: str, *flags: str) -> Any:
    """Start the process that makes or unpacks tar streams."""
    from phoenix_ga.agent.archive import command_line
    from phoenix_ga.agent.endpoints.process import Process
    from phoenix_ga.agent.endpoints.process_table import process_table
    from phoenix_ga.agent.operations.processes import spawn

    return Process(process_table(context), spawn(command_line(action, path, *flags), {}, directory=os.getcwd()))


def execute(
    context: Context,
    argv: list[str],
    env: dict[str, str],
    user: str,
    directory: str,
    terminal: bool,
    rows: int,
    columns: int,
    detach: bool,
    window: int,
) -> Opened:
    from phoenix_ga.agent.endpoints.process import Process
    from phoenix_ga.agent.endpoints.process_table import process_table
    from phoenix_ga.agent.operations.processes import spawn

    for name in env:
        if not name or "=" in name:
            raise OSError(EINVAL, f"{name!r} is no name of an environment variable")
    table = process_table(context)
    if detach:
        table.make_room()
    child = spawn(argv, env, user, directory, (rows, columns) if terminal else None)
    process = Process(table, child, tuple(argv), user, detach)
    return Opened({"pid": process.pid, "window": process.main.window}, {**process.endpoints}, window)


def execute_attach(context: Context, pid: int, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process = process_table(context).attach(pid)
    answer = {"pid": pid, "argv": list(process.argv), "window": process.main.window}
    return Opened(answer, {**process.endpoints}, window)


def execute_list(context: Context) -> list[dict[str, Any]]:
    from phoenix_ga.agent.endpoints.process_table import process_table

    return [
        {
            "pid": process.pid,
            "argv": list(process.argv),
            "user": process.user,
            "started": process.started,
            "terminal": process.terminal,
            "detached": process.detached,
            "attached": process.attached,
            **(process.outcome or {}),
        }
        for process in process_table(context).all()
    ]


def execute_signal(context: Context, pid: int, signal: int) -> bool:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process_table(context).find(pid).signal(signal)
    return True


def execute_resize(context: Context, pid: int, rows: int, columns: int) -> bool:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process_table(context).find(pid).resize(rows, columns)
    return True


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


def _check_address(host: str, port: int, path: str) -> None:
    if bool(path) == bool(host or port) or (host and not port):
        raise OSError(EINVAL, "give either 'host' and 'port', or 'path'")
