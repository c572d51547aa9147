"""Commands that copy files and directories as streams."""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENOTDIR, EPERM, ESPIPE

from phoenix_ga.agent.operations import files
from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.wire.base64_text import decode_base64, encode_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def file_get(
    context: Context,
    path: str,
    offset: int,
    length: int,
    window: int,
    digest: bool | str,
    sparse: bool,
    xattrs: bool,
) -> Opened:
    from phoenix_ga.agent.endpoints.file_source import FileSource
    from phoenix_ga.trees.xattrs import is_known, list_names, read_attributes

    file = files.open_to_read(path)
    try:
        status = os.fstat(file.fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise OSError(ESPIPE, "not a regular file or block device; use exec with cat", path)
        attributes: dict[bytes, str | None] = dict.fromkeys(list_names(file.fd))
        if xattrs:
            attributes = {
                name: encode_base64(value).decode("ascii")
                for name, value in read_attributes(file.fd, is_known).items()
            }
        os.set_blocking(file.fd, True)
        source = FileSource(file.fd, offset, length, digest, sparse, context.throttle)
    except BaseException:
        os.close(file.fd)
        raise
    answer = {
        "size": status.st_size,
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns,
        "xattrs": {os.fsdecode(name): value for name, value in attributes.items()},
    }
    return Opened(answer, {"stream": source}, window)


def file_put(
    context: Context,
    path: str,
    perm: int,
    uid: int,
    gid: int,
    digest: bool | str,
    part: str,
    offset: int,
    new_perm: int,
    mtime: int,
    xattrs: dict[str, str],
    unless_changed: int,
) -> Opened:
    from phoenix_ga.agent.endpoints.file_sink import FileSink
    from phoenix_ga.agent.operations.replacement import Replacement

    if offset and not part:
        raise OSError(EINVAL, "'offset' requires 'part', the name of the part to continue")
    attributes = _decode_attributes(xattrs) if xattrs else {}
    replacement = Replacement(path, perm, uid, gid, part, offset, new_perm, mtime, attributes, unless_changed)
    sink = FileSink(replacement, digest, context.throttle)
    return Opened({"window": sink.window}, {"stream": sink}, 0)


def _decode_attributes(xattrs: dict[str, str]) -> dict[bytes, bytes]:
    from phoenix_ga.trees.xattrs import check_size, is_known

    attributes = {}
    for text, value in xattrs.items():
        name = os.fsencode(text)
        if not is_known(name):
            raise OSError(EINVAL, f"{text!r} is not the name of an extended attribute that can be set")
        try:
            attributes[name] = decode_base64(value)
        except ValueError as error:
            raise OSError(EINVAL, f"{text}: {error}") from None
    check_size(attributes)
    return attributes


def directory_get(context: Context, path: str, window: int, xattrs: bool) -> Opened:
    from phoenix_ga.agent.dialects.native.helpers import start_helper

    if not stat.S_ISDIR(os.stat(files.encode_path(path)).st_mode):
        raise OSError(ENOTDIR, os.strerror(ENOTDIR), path)
    process = start_helper(context, "archive", "get", path, *(["xattrs"] if xattrs else []))
    process.main.close_stdin()
    return Opened({}, {**process.endpoints}, window)


def directory_put(context: Context, path: str, owners: bool, set_id: bool, window: int, xattrs: str) -> Opened:
    from phoenix_ga.agent.dialects.native.helpers import start_helper

    name = files.encode_path(path)
    is_new = not os.path.isdir(name)
    if is_new and os.path.lexists(name):
        raise OSError(ENOTDIR, os.strerror(ENOTDIR), path)
    files.make_directory(path, 0o755, parents=True)
    flags = {
        "new": is_new,
        "owners": owners,
        "set-id": set_id,
        "xattrs": xattrs == "user",
        "all-xattrs": xattrs == "all",
    }
    process = start_helper(context, "archive", "put", path, *(flag for flag in flags if flags[flag]))
    return Opened({"window": process.main.window}, {**process.endpoints}, window)


def sftp(context: Context, user: str, read_only: bool, window: int) -> Opened:
    from phoenix_ga.agent.dialects.native.helpers import start_helper
    from phoenix_ga.agent.operations.account import Account

    # Raise now if there is no such user.
    if Account(user).changes and os.geteuid():
        raise OSError(EPERM, "only root can become another user")
    process = start_helper(context, "sftp", user, *["read-only"] * read_only)
    return Opened({"pid": process.pid, "window": process.main.window}, {**process.endpoints}, window)
