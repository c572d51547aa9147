"""The members of a tar stream: a strict subset of PAX, see pax(1)."""

from __future__ import annotations

from phoenix_ga.trees.headers import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    EXTENDED,
    FIFO,
    FILE,
    HARD_LINK,
    SECOND,
    SYMBOLIC_LINK,
    ArchiveError,
    Header,
    encode_header,
    parse_records,
    parse_time,
    read_attributes,
    read_size,
)
from phoenix_ga.trees.xattrs import COUNT_MAX, SIZE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

# The longest path, in bytes, and the deepest.
NAME_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 256
# Enough for a path, the target of a link, some numbers, and extended attributes.
_EXTENDED_MAX: Final = 160 * 1024 + SIZE_MAX + COUNT_MAX * 32
_SIZE_MAX: Final = 2**63 - 1
_ID_MAX: Final = 2**32 - 2
# The latest time that filesystems can store, in seconds since 1970.
_TIME_MAX: Final = 2**34
_KINDS: Final = (FILE, DIRECTORY, SYMBOLIC_LINK, HARD_LINK, FIFO, CHARACTER_DEVICE, BLOCK_DEVICE)
END: Final = bytes(2 * BLOCK)
_ZEROS: Final = bytes(BLOCK)
_NO_DEVICE: Final = (0, 0)
_NO_ATTRIBUTES: Final[Mapping[bytes, bytes]] = {}


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
        attributes: extended attributes of a file or directory.
    """

    __slots__ = ("attributes", "device", "gid", "kind", "link", "mode", "mtime", "name", "size", "uid")

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
        attributes: Mapping[bytes, bytes] = _NO_ATTRIBUTES,
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
        self.attributes = attributes

    def header(self) -> bytes:
        """Return its header, with the extended header if it needs one."""
        return encode_header(
            self.name,
            self.kind,
            self.mode,
            self.size,
            self.uid,
            self.gid,
            self.mtime,
            self.link,
            self.device,
            self.attributes,
        )


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
        # A piece of the stream, and how much of it was taken.
        self._piece = b""
        self._at = 0
        self._limit = limit
        self._read = 0
        # Bytes left of the member's data, and of the padding behind it.
        self._left = 0
        self._padding = 0

    def next_member(self) -> Member | None:
        """Return the next member, or None at the end. Unread data of the previous one is skipped."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        block = self._take(BLOCK)
        extended: dict[bytes, bytes] = {}
        if block[156:157] == EXTENDED:
            size = read_size(block)
            if not 0 <= size <= _EXTENDED_MAX:
                raise ArchiveError(f"an extended header of {size} bytes")
            extended = parse_records(self._take(size + -size % BLOCK)[:size])
            block = self._take(BLOCK)
        elif block == _ZEROS:
            if self._take(BLOCK) != block:
                raise ArchiveError("something follows the end mark")
            return None
        member = _read_member(Header(block), extended)
        self._left = member.size
        self._padding = -member.size % BLOCK
        return member

    def copy(self, write: Callable[[memoryview], object]) -> None:
        """Pass the data of the member to `write`, in pieces."""
        while self._left:
            piece = self._some(self._left)
            self._left -= len(piece)
            write(piece)

    def finish(self) -> None:
        """Read to the end of the stream, after the end mark."""
        rest = self._piece[self._at :]
        while True:
            if rest.strip(b"\0"):
                raise ArchiveError("something follows the end mark")
            rest = self._next_piece()
            if not rest:
                return

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._piece):
            piece = self._piece[self._at : end]
            self._at = end
            return piece
        pieces = bytearray()
        while len(pieces) < size:
            pieces += self._some(size - len(pieces))
        return bytes(pieces)

    def _some(self, size: int) -> memoryview:
        """Return at least one byte, and at most `size`."""
        if self._at == len(self._piece):
            self._piece = self._next_piece()
            self._at = 0
            if not self._piece:
                raise ArchiveTooShort("the archive is truncated")
        start, self._at = self._at, min(self._at + size, len(self._piece))
        return memoryview(self._piece)[start : self._at]

    def _next_piece(self) -> bytes:
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


def _read_member(header: Header, extended: dict[bytes, bytes]) -> Member:
    kind = header.kind
    if kind not in _KINDS:
        raise ArchiveError(f"a member of an unsupported kind: {kind!r}")
    name, link, mtime = header.name, header.link, header.mtime * SECOND
    size, uid, gid = header.size, header.uid, header.gid
    attributes = _NO_ATTRIBUTES
    if extended:
        text = extended.get(b"mtime")
        if text is not None:
            mtime = parse_time(text)
        # Most have nothing else.
        if text is None or len(extended) > 1:
            if any(key.startswith(b"GNU.sparse") for key in extended):
                raise ArchiveError("a sparse file")
            name = extended.get(b"path", name)
            link = extended.get(b"linkpath", link)
            size = _overridden(extended, b"size", size)
            uid = _overridden(extended, b"uid", uid)
            gid = _overridden(extended, b"gid", gid)
            if kind in (FILE, DIRECTORY):
                attributes = read_attributes(extended)
    if not (0 <= size <= _SIZE_MAX and 0 <= uid <= _ID_MAX and 0 <= gid <= _ID_MAX):
        raise ArchiveError("a size or an owner out of range")
    if not -_TIME_MAX * SECOND <= mtime <= _TIME_MAX * SECOND:
        raise ArchiveError("a time out of range")
    if len(link) > NAME_MAX or b"\0" in link:
        raise ArchiveError(f"a link of {len(link)} bytes, or with a zero byte")
    parts = split_name(name)
    if not parts and kind != DIRECTORY:
        raise ArchiveError("a root that is not a directory")
    if kind == HARD_LINK:
        link = b"/".join(split_name(link))
    if size and kind != FILE:
        raise ArchiveError("data of a member that is not a file")
    if header.device != _NO_DEVICE and not all(0 <= number < 2**20 for number in header.device):
        raise ArchiveError("a device number out of range")
    name = b"/".join(parts)
    return Member(name, kind, header.mode & 0o7777, size, uid, gid, mtime, link, header.device, attributes)


def _overridden(extended: dict[bytes, bytes], key: bytes, value: int) -> int:
    """Return the number of a record, or `value` if there is none; -1 if it is malformed."""
    text = extended.get(key)
    if text is None:
        return value
    return int(text) if text.isdigit() and len(text) <= 20 else -1
