"""Commands about files that are open."""

from __future__ import annotations

from phoenix_ga.agent.core.nowait import WouldBlock, read_nowait
from phoenix_ga.agent.dialects.qga.base64_text import decode_guest_base64
from phoenix_ga.agent.operations import random_access
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.base64_text import encode_base64
from phoenix_ga.wire.messages import NO_CODE, JsonText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Union

    from phoenix_ga.agent.context import Context

    Piece = Union[bytes, memoryview]

_COUNT: Final = 4096
_COUNT_MAX: Final = 48 * 1024 * 1024
# Bytes read at a time; divisible by 3, so that the base64 of pieces can be concatenated.
_PIECE: Final = 96 * 1024
_WHENCES: Final[dict[object, int]] = {0: 0, 1: 1, 2: 2, "set": 0, "cur": 1, "end": 2}


def guest_file_open(context: Context, path: str, mode: str | None) -> int:
    mode = "r" if mode is None else mode
    if mode not in random_access.READ_MODES and mode not in random_access.WRITE_MODES:
        raise CommandError(f"invalid file open mode '{mode}'", NO_CODE)
    # No name can contain a NUL; as in QEMU, U+0000 becomes its two-byte form (modified UTF-8).
    name = path.replace("\0", "\udcc0\udc80")
    try:
        return _handles(context).add(lambda: random_access.open_file(name, mode), context.config.max_handles)
    except random_access.StateError:
        raise CommandError("failed to commit persistent state to disk", NO_CODE) from None
    except OSError as error:
        raise _failed(f"failed to open file '{path}' (mode: '{mode}')", error) from None


def guest_file_close(context: Context, handle: int) -> None:
    handles = _handles(context)
    _descriptor(context, handle)
    try:
        random_access.close(handles.remove(handle))
    except OSError as error:
        raise _failed("failed to close handle", error) from None


def guest_file_read(context: Context, handle: int, count: int | None) -> JsonText:
    descriptor = _descriptor(context, handle)
    if count is None:
        count = _COUNT
    elif not 0 <= count <= _COUNT_MAX:
        raise _invalid_count(count)
    try:
        size, ended, pieces = _read(descriptor, count)
    except OSError as error:
        raise _failed("failed to read file", error) from None
    return _piece(size, ended, *pieces)


def guest_file_read_nowait(context: Context, handle: int, count: int | None) -> JsonText:
    handles = context.existing_part(_make_handles)
    if handles is None:
        raise WouldBlock
    data, ended = read_nowait(_get(handles, handle), _COUNT if count is None else count)
    return _piece(len(data), ended, encode_base64(data))


def guest_file_write(context: Context, handle: int, buf_b64: str, count: int | None) -> dict[str, Any]:
    descriptor = _descriptor(context, handle)
    data = _decode(buf_b64, count)
    try:
        written = random_access.write(descriptor, data)
    except OSError as error:
        raise _failed("failed to write to file", error) from None
    return {"count": written, "eof": False}


def _decode(text: str, count: int | None) -> memoryview:
    data = memoryview(decode_guest_base64(text))
    if count is None:
        return data
    if not 0 <= count <= len(data):
        raise _invalid_count(count)
    return data[:count]


def guest_file_seek(context: Context, handle: int, offset: int, whence: int | str) -> dict[str, Any]:
    descriptor = _descriptor(context, handle)
    if whence not in _WHENCES:
        raise CommandError(f"invalid whence code {whence}", NO_CODE)
    try:
        position = random_access.seek(descriptor, offset, _WHENCES[whence])
    except OSError as error:
        raise _failed("failed to seek file", error) from None
    return {"position": position, "eof": False}


def guest_file_flush(context: Context, handle: int) -> None:
    # Nothing is buffered.
    _descriptor(context, handle)


def _piece(size: int, ended: bool, *pieces: Piece) -> JsonText:
    return JsonText(
        b'{"count": %d, "buf-b64": "' % size, *pieces, b'", "eof": %s}' % (b"true" if ended else b"false")
    )


def _read(descriptor: int, count: int) -> tuple[int, bool, list[Piece]]:
    """Return the size, whether the end was reached, and the data in base64."""
    asked = min(count, _PIECE)
    data, ended = random_access.read(descriptor, asked)
    size = len(data)
    if size < asked or size == count:
        return size, ended, [encode_base64(data)]
    # Rarely needed.
    from phoenix_ga.agent.operations.chunked_buffer import ChunkedBuffer

    text = ChunkedBuffer()
    text.append(encode_base64(data))
    while size < count and len(data) == asked and not ended:
        asked = min(count - size, _PIECE)
        try:
            data, ended = random_access.read(descriptor, asked)
            text.append(encode_base64(data))
        except OSError:
            # What was read must not be lost; the next read reports the error.
            break
        size += len(data)
    return size, ended, [*text.pieces()]


def _make_handles(context: Context) -> random_access.CountedHandles:
    return random_access.CountedHandles(context.config.state_directory)


def _handles(context: Context) -> random_access.CountedHandles:
    return context.part(_make_handles)


def _descriptor(context: Context, handle: int) -> int:
    return _get(_handles(context), handle)


def _get(handles: random_access.CountedHandles, handle: int) -> int:
    try:
        return handles.get(handle)
    except OSError as error:
        raise CommandError(str(error.strerror), NO_CODE) from None


def _invalid_count(count: int) -> CommandError:
    return CommandError(f"value '{count}' is invalid for argument count", NO_CODE)


def _failed(what: str, error: OSError) -> CommandError:
    return CommandError(f"{what}: {error.strerror}", error.errno or NO_CODE)
