"""Commands on files and directories."""

from __future__ import annotations

import os
import stat
from errno import E2BIG, EINVAL

from phoenix_ga.agent.core.nowait import WouldBlock, read_nowait
from phoenix_ga.agent.operations import files, owners
from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.wire.base64_text import decode_base64, encode_base64
from phoenix_ga.wire.json_text import encode_json, encode_string
from phoenix_ga.wire.messages import JsonText
from phoenix_ga.wire.units import LINE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from phoenix_ga.agent.context import Context

# The rest of the line is for the rest of the answer.
_LISTING_SIZE_MAX: Final = LINE_LIMIT - 64 * 1024
_NUMBERS: Final = ", ".join(["%s"] * files.NUMBERS)


def file_open(context: Context, path: str, mode: str, perm: int, force: bool) -> int:
    if mode == "r":
        return context.handles.add(lambda: files.open_to_read(path))
    return context.handles.add(lambda: files.open_to_write(path, perm, force))


def file_read(context: Context, handle_id: int, count: int) -> JsonText:
    file = context.handles.get(handle_id)
    data = files.read(file, count)
    # The end is an answer of its own, because clients may ignore data that accompanies it.
    if not data:
        files.close(context.handles.remove(handle_id))
    return _piece(data)


def file_read_nowait(context: Context, handle_id: int, count: int) -> JsonText:
    data, _ = read_nowait(context.handles.get(handle_id).fd, count)
    if not data:
        # At the end, the handle is closed.
        raise WouldBlock
    return _piece(data)


def _piece(data: bytes | memoryview) -> JsonText:
    return JsonText(b'{"bufb64": "', encode_base64(data), b'", "eof": %s}' % (b"false" if data else b"true"))


def file_write(context: Context, handle_id: int, bufb64: str, eof: bool) -> bool:
    file = context.handles.get(handle_id)
    files.write(file, _decode(bufb64))
    if eof:
        files.close(context.handles.remove(handle_id))
    return True


def _decode(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise OSError(EINVAL, f"argument 'bufb64': {error}") from None


def file_close(context: Context, handle_id: int) -> bool:
    files.close(context.handles.remove(handle_id))
    return True


def get_file_md5sum(context: Context, path: str) -> str:
    return files.digest(path, "md5", context.throttle)


def get_file_sha256sum(context: Context, path: str, length: int) -> str:
    return files.digest(path, "sha256", context.throttle, length)


def file_glob(context: Context, pattern: str) -> list[str]:
    from phoenix_ga.agent.operations.patterns import matching_paths
    from phoenix_ga.wire.patterns import NamePattern

    return matching_paths([NamePattern(part) for part in pattern.split("/")])


def file_stat(context: Context, path: str, follow: bool, names: bool) -> dict[str, Any]:
    status = files.status(path, follow)
    entry = _entry(files.base_name(path), status)
    if names:
        entry.update(_names(owners.Names(), path, status))
    return entry


def directory_list(context: Context, path: str, n: int, names: bool) -> JsonText:
    # Encode each entry at once: 100,000 entries as objects would take 300 MB.
    text = bytearray(b"[")
    known = owners.Names() if names else None
    for name, status in files.list_directory(path, n, context.config.listing_limit):
        if len(text) > 1:
            text += b", "
        entry = _entry(name, status)
        if known is not None:
            entry.update(_names(known, f"{path}/{name}", status))
        text += encode_json(entry)
        if len(text) > _LISTING_SIZE_MAX:
            raise OSError(E2BIG, "the listing is too long for one answer; ask for fewer entries with 'n'", path)
    text += b"]"
    return JsonText(text)


def directory_entries(context: Context, path: str, names: bool, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.directory import DirectorySource

    entries = os.scandir(files.encode_path(path))
    try:
        source = DirectorySource(_entry_lines(path, entries, names), entries.close, context.throttle)
    except BaseException:
        entries.close()
        raise
    return Opened({}, {"stream": source}, window)


def _entry_lines(path: str, entries: Iterator[os.DirEntry[bytes]], names: bool) -> Iterator[str]:
    """Yield a JSON array for each entry, in the order of `directory-entries`."""
    known = owners.Names()
    # The end of most lines.
    shown: dict[tuple[int, int], str] = {}
    for name, status in files.examine(entries):
        line = _NUMBERS % files.numbers(status)
        if names:
            ids = status.st_uid, status.st_gid
            if ids not in shown:
                shown[ids] = f", {encode_string(known.user(ids[0]))}, {encode_string(known.group(ids[1]))}, "
            target = files.link_target(f"{path}/{name}") if stat.S_ISLNK(status.st_mode) else ""
            line = f"{line}{shown[ids]}{encode_string(target)}"
        yield f"[{encode_string(name)}, {line}]\n"


def _entry(name: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "name": name,
        "isdir": stat.S_ISDIR(status.st_mode),
        "stat": {
            "Dev": status.st_dev,
            "Ino": status.st_ino,
            "Nlink": status.st_nlink,
            "Mode": status.st_mode,
            "Uid": status.st_uid,
            "Gid": status.st_gid,
            "Rdev": status.st_rdev,
            "Size": status.st_size,
            "Blksize": status.st_blksize,
            "Blocks": status.st_blocks,
            "Atim": _time(status.st_atime_ns),
            "Mtim": _time(status.st_mtime_ns),
            "Ctim": _time(status.st_ctime_ns),
        },
    }


def _names(known: owners.Names, path: str, status: os.stat_result) -> dict[str, str]:
    return {
        "user": known.user(status.st_uid),
        "group": known.group(status.st_gid),
        "target": files.link_target(path) if stat.S_ISLNK(status.st_mode) else "",
    }


def _time(nanoseconds: int) -> dict[str, int]:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return {"Sec": seconds, "Nsec": rest}


def directory_find(
    context: Context,
    path: str,
    depth: int,
    one_filesystem: bool,
    name: str,
    types: str,
    minimum: int,
    maximum: int,
    younger: int,
    older: int,
    window: int,
) -> Opened:
    conditions = {
        "name": name,
        "types": types,
        "minimum": minimum,
        "maximum": maximum,
        "younger": younger,
        "older": older,
    }
    return _start_walk(context, "find", path, depth, one_filesystem, window, conditions)


def directory_usage(context: Context, path: str, depth: int, one_filesystem: bool, window: int) -> Opened:
    return _start_walk(context, "usage", path, depth, one_filesystem, window, {})


def _start_walk(
    context: Context,
    action: str,
    path: str,
    depth: int,
    one_filesystem: bool,
    window: int,
    conditions: dict[str, Any],
) -> Opened:
    from phoenix_ga.agent.dialects.native.helpers import start_helper

    # Raise now if it does not exist.
    files.status(path, follow=True)
    options = {"depth": depth, "one_filesystem": one_filesystem, **conditions}
    process = start_helper(context, "walk", action, path, encode_json(options).decode("ascii"))
    process.main.close_stdin()
    return Opened({}, {**process.endpoints}, window)


def file_tail(context: Context, path: str, lines: int, follow: bool, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.follower import Follower
    from phoenix_ga.agent.operations.followed_file import FollowedFile

    return Opened({}, {"stream": Follower(FollowedFile(path, lines, follow))}, window)
