"""The members of a tar stream: a strict subset of PAX, see pax(1).

For reading, only the decoder of fixed-size headers is used of tarfile: its readers of extended headers use as much
memory and time as the sender wants.
"""

from __future__ import annotations

import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

BLOCK: Final = tarfile.BLOCKSIZE
# The longest path, in bytes, and the deepest.
NAME_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 256
# Enough for a path, the target of a link, and some numbers.
_EXTENDED_MAX: Final = 160 * 1024
_SIZE_MAX: Final = 2**63 - 1
_ID_MAX: Final = 2**32 - 2
_SECOND: Final = 1_000_000_000
# The latest time that filesystems can store, in seconds since 1970.
_TIME_MAX: Final = 2**34
_ENCODING: Final = "utf-8"
_ERRORS: Final = "surrogateescape"

FILE: Final = tarfile.REGTYPE
DIRECTORY: Final = tarfile.DIRTYPE
SYMBOLIC_LINK: Final = tarfile.SYMTYPE
HARD_LINK: Final = tarfile.LNKTYPE
FIFO: Final = tarfile.FIFOTYPE
CHARACTER_DEVICE: Final = tarfile.CHRTYPE
BLOCK_DEVICE: Final = tarfile.BLKTYPE
_KINDS: Final = (FILE, DIRECTORY, SYMBOLIC_LINK, HARD_LINK, FIFO, CHARACTER_DEVICE, BLOCK_DEVICE)
END: Final = bytes(2 * BLOCK)


class ArchiveError(ValueError):
    """A tar stream is malformed, or contains something that is not allowed."""


class ArchiveTooShort(ArchiveError):
    """A tar stream is truncated."""


class StreamFailed(Exception):
    """Reading or writing a tar stream failed; `__cause__` says why."""


class Member:
    """One entry of a directory tree.

    Attributes:
        name: path below the root of the tree, without a leading slash; empty for the root itself.
        kind: one of the constants of this module.
        size: of a file, in bytes.
        mode: permission bits, including set-ID bits.
        mtime: nanoseconds since 1970.
        link: the target of a symbolic link, or the name of an earlier member.
        device: major and minor number.
    """

    __slots__ = ("device", "gid", "kind", "link", "mode", "mtime", "name", "size", "uid")

    def __init__(
        self,
        name: bytes,
        kind: bytes,
        mode: int = 0o644,
        size: int = 0,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.size = size
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.link = link
        self.device = device

    def information(self) -> tarfile.TarInfo:
        """Return it as a TarInfo."""
        information = tarfile.TarInfo(_decode(self.name or b"."))
        information.type = self.kind
        information.mode = self.mode
        information.size = self.size
        information.uid = self.uid
        information.gid = self.gid
        information.linkname = _decode(self.link)
        information.devmajor, information.devminor = self.device
        seconds, fraction = divmod(self.mtime, _SECOND)
        if fraction or seconds < 0:
            information.pax_headers = {"mtime": format_time(self.mtime)}
        else:
            information.mtime = seconds
        return information

    def header(self) -> bytes:
        """Return its header, with the extended header if it needs one."""
        return self.information().tobuf(tarfile.PAX_FORMAT, _ENCODING, _ERRORS)


class Source:
    """Reads a tar stream.

    Args:
        pull: returns the next bytes, any number of them; none at the end.
        limit: of the whole stream, in bytes; None for no limit.

    Raises:
        ArchiveError, StreamFailed: from every method.
    """

    def __init__(self, pull: Callable[[], bytes], limit: int | None = None) -> None:
        self._pull = pull
        self._rest = memoryview(b"")
        self._limit = limit
        self._read = 0
        # Bytes left of the member's data, and of the padding behind it.
        self._left = 0
        self._padding = 0

    def next_member(self) -> Member | None:
        """Return the next member, or None at the end. Unread data of the previous one is skipped."""
        self.copy(lambda piece: None)
        self._skip(self._padding)
        self._padding = 0
        block = self._take(BLOCK)
        extended: dict[bytes, bytes] = {}
        if block[156:157] == tarfile.XHDTYPE:
            size = _parse_header(block).size
            if not 0 <= size <= _EXTENDED_MAX:
                raise ArchiveError(f"an extended header of {size} bytes")
            extended = _parse_extended(self._take(_in_blocks(size))[:size])
            block = self._take(BLOCK)
        elif not any(block):
            if any(self._take(BLOCK)):
                raise ArchiveError("something follows the end mark")
            return None
        member = _read_member(_parse_header(block), extended)
        self._left = member.size
        self._padding = _in_blocks(member.size) - member.size
        return member

    def copy(self, write: Callable[[memoryview], object]) -> None:
        """Pass the data of the member to `write`, in pieces."""
        while self._left:
            piece = self._some(self._left)
            self._left -= len(piece)
            write(piece)

    def finish(self) -> None:
        """Read to the end of the stream, after the end mark."""
        while piece := self._next_piece():
            if any(piece):
                raise ArchiveError("something follows the end mark")

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _take(self, size: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < size:
            pieces += self._some(size - len(pieces))
        return bytes(pieces)

    def _some(self, size: int) -> memoryview:
        """Return at least one byte, and at most `size`."""
        if not self._rest:
            self._rest = memoryview(self._next_piece())
            if not self._rest:
                raise ArchiveTooShort("the archive is truncated")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def _next_piece(self) -> bytes | memoryview:
        if self._rest:
            rest, self._rest = self._rest, memoryview(b"")
            return rest
        try:
            piece = self._pull()
        except Exception as error:
            raise StreamFailed from error
        self._read += len(piece)
        if self._limit is not None and self._read > self._limit:
            raise ArchiveError(f"the archive is longer than {self._limit} bytes, which is the limit")
        return piece


def split_name(name: bytes) -> list[bytes]:
    """Return the parts of a path below the root of a tree. Raises ArchiveError if it leads outside."""
    if name.startswith(b"/"):
        raise ArchiveError("an absolute name")
    if len(name) > NAME_MAX:
        raise ArchiveError(f"a name of {len(name)} bytes")
    if b"\0" in name:
        raise ArchiveError("a name that holds a zero byte")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ArchiveError("a name that leads outside of the directory")
    if len(parts) > DEPTH_MAX:
        raise ArchiveError(f"a name {len(parts)} directories deep")
    return parts


def padding(size: int) -> bytes:
    """Return the padding that follows `size` bytes of data."""
    return bytes(_in_blocks(size) - size)


def format_time(nanoseconds: int) -> str:
    """Return a time in the form of extended headers."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, fraction = divmod(abs(nanoseconds), _SECOND)
    return f"{sign}{seconds}.{fraction:09d}"


def parse_time(text: bytes) -> int:
    """Parse a time of an extended header; return nanoseconds since 1970. Raises ArchiveError."""
    negative = text.startswith(b"-")
    whole, _, fraction = text[negative:].partition(b".")
    if not (0 < len(whole) <= 20 and whole.isdigit() and len(fraction) <= 40 and (fraction + b"0").isdigit()):
        raise ArchiveError("a malformed time")
    nanoseconds = int(whole) * _SECOND + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds


def _in_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _decode(name: bytes) -> str:
    return name.decode(_ENCODING, _ERRORS)


def _encode(name: str) -> bytes:
    return name.encode(_ENCODING, _ERRORS)


def _parse_header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, _ENCODING, _ERRORS)
    except (tarfile.HeaderError, ValueError) as error:
        raise ArchiveError(f"not a tar header: {error}") from None


def _parse_extended(body: bytes) -> dict[bytes, bytes]:
    """Return the records of an extended header, each `LENGTH KEY=VALUE` and a newline."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(body):
        space = body.find(b" ", start, start + 8)
        digits = body[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        equals = body.find(b"=", space, end)
        if not space < equals < end <= len(body) or body[end - 1 : end] != b"\n":
            raise ArchiveError("a malformed extended header")
        records[body[space + 1 : equals]] = body[equals + 1 : end - 1]
        start = end
    return records


def _read_member(information: tarfile.TarInfo, extended: dict[bytes, bytes]) -> Member:
    kind = FILE if information.type == tarfile.AREGTYPE else information.type
    if kind not in _KINDS or any(key.startswith(b"GNU.sparse") for key in extended):
        raise ArchiveError(f"a member of an unsupported kind: {kind!r}")
    name = extended.get(b"path", _encode(information.name))
    link = extended.get(b"linkpath", _encode(information.linkname))
    if len(link) > NAME_MAX or b"\0" in link:
        raise ArchiveError(f"a link of {len(link)} bytes, or with a zero byte")
    mtime = parse_time(extended[b"mtime"]) if b"mtime" in extended else int(information.mtime) * _SECOND
    if abs(mtime) > _TIME_MAX * _SECOND:
        raise ArchiveError("a time out of range")
    size = _number(extended, b"size", information.size, _SIZE_MAX)
    parts = split_name(name)
    if not parts and kind != DIRECTORY:
        raise ArchiveError("a root that is not a directory")
    if kind == HARD_LINK:
        link = b"/".join(split_name(link))
    if size and kind != FILE:
        raise ArchiveError("data of a member that is not a file")
    device = information.devmajor, information.devminor
    if not all(0 <= number < 2**20 for number in device):
        raise ArchiveError("a device number out of range")
    return Member(
        b"/".join(parts),
        kind,
        information.mode & 0o7777,
        size,
        _number(extended, b"uid", information.uid, _ID_MAX),
        _number(extended, b"gid", information.gid, _ID_MAX),
        mtime,
        link,
        device,
    )


def _number(extended: dict[bytes, bytes], key: bytes, value: int, most: int) -> int:
    if key in extended:
        text = extended[key]
        value = int(text) if text.isdigit() and len(text) <= 20 else -1
    if not 0 <= value <= most:
        raise ArchiveError(f"a {key.decode()} out of range")
    return value
