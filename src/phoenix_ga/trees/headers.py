"""Tar headers: ustar blocks and the records of PAX, see pax(1) and tar(5). No I/O.

What is written is what `tarfile` writes. What is read may be hostile: numbers and records have one form each, and no
header takes more memory or time than its own size.
"""

from __future__ import annotations

from zlib import adler32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

BLOCK: Final = 512
SECOND: Final = 1_000_000_000

FILE: Final = b"0"
HARD_LINK: Final = b"1"
SYMBOLIC_LINK: Final = b"2"
CHARACTER_DEVICE: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
# A header that holds records for the next one.
EXTENDED: Final = b"x"

_EXTENDED_NAME: Final = b"././@PaxHeader"
# Begins the keys of records that hold extended attributes.
_ATTRIBUTE: Final = b"SCHILY.xattr."
_NAME_SIZE: Final = 100
# The largest numbers of fields of 8 and 12 bytes.
_SHORT_MAX: Final = 8**7 - 1
_LONG_MAX: Final = 8**11 - 1
_CHECKSUM: Final = slice(148, 156)
# For the checksum, its field counts as 8 spaces.
_CHECKSUM_BLANK: Final = 8 * 32
_OWNER_NAMES: Final = bytes(64)
_NO_DEVICE: Final = bytes(16)
_REST: Final = bytes(155 + 12)
_MAGIC: Final = b"ustar\x0000"
# The first bytes of a number that is binary, not octal.
_POSITIVE: Final = 0x80
_NEGATIVE: Final = 0xFF
# Fields that were parsed, and their numbers.
_known: Final[dict[bytes, int]] = {}
_KNOWN_MAX: Final = 1000


class ArchiveError(ValueError):
    """A tar stream is malformed, or contains something that is not allowed."""


# Writing


def encode_header(
    name: bytes,
    kind: bytes,
    mode: int,
    size: int,
    uid: int,
    gid: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    attributes: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return the header of a member, after an extended header if it needs one. The arguments are those of Member."""
    name = name or b"."
    if kind == DIRECTORY:
        name += b"/"
    records = b""
    seconds, fraction = divmod(mtime, SECOND)
    if fraction or seconds < 0:
        records = _record(b"mtime", format_time(mtime))
        seconds = 0
    if not (name.isascii() and len(name) <= _NAME_SIZE):
        records += _record(b"path", name)
        name = _shortened(name)
    if not (link.isascii() and len(link) <= _NAME_SIZE):
        records += _record(b"linkpath", link)
        link = _shortened(link)
    if uid > _SHORT_MAX:
        records += _record(b"uid", b"%d" % uid)
        uid = 0
    if gid > _SHORT_MAX:
        records += _record(b"gid", b"%d" % gid)
        gid = 0
    if size > _LONG_MAX:
        records += _record(b"size", b"%d" % size)
        size = 0
    if seconds > _LONG_MAX:
        records += _record(b"mtime", b"%d" % seconds)
        seconds = 0
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, seconds)
    if kind == FILE:
        block = _encode_block(name, numbers, _FILE_TAIL, _FILE_SUM)
    else:
        tail = _encode_tail(kind, link, device)
        block = _encode_block(name, numbers, tail, sum(tail))
    return _encode_extended(records, attributes or {}) + block if records or attributes else block


def _encode_block(name: bytes, numbers: bytes, tail: bytes, tail_sum: int) -> bytes:
    checksum = sum(name) + sum(numbers) + _CHECKSUM_BLANK + tail_sum
    return b"%b%b%06o\0 %b" % (name.ljust(_NAME_SIZE, b"\0"), numbers, checksum, tail)


def _encode_tail(kind: bytes, link: bytes, device: tuple[int, int]) -> bytes:
    """Return what follows the checksum."""
    numbers = b"%07o\0%07o\0" % device if kind in (CHARACTER_DEVICE, BLOCK_DEVICE) else _NO_DEVICE
    return b"".join((kind, link.ljust(_NAME_SIZE, b"\0"), _MAGIC, _OWNER_NAMES, numbers, _REST))


def _encode_extended(records: bytes, attributes: Mapping[bytes, bytes]) -> bytes:
    if not _is_utf8(records):
        records = b"21 hdrcharset=BINARY\n" + records
    # As GNU tar writes them: their values are binary in any case, and what would end a key is escaped.
    for name, value in attributes.items():
        records += _record(_ATTRIBUTE + name.replace(b"%", b"%25").replace(b"=", b"%3D"), value)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0, 0, 0, len(records), 0)
    block = _encode_block(_EXTENDED_NAME, numbers, _EXTENDED_TAIL, _EXTENDED_SUM)
    return b"".join((block, records, padding(len(records))))


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE` and a newline. The length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %b=%b\n" % (length, key, value)


def _shortened(name: bytes) -> bytes:
    return name.decode("utf-8", "surrogateescape").encode("ascii", "replace")[:_NAME_SIZE]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_FILE_TAIL: Final = _encode_tail(FILE, b"", (0, 0))
_FILE_SUM: Final = sum(_FILE_TAIL)
_EXTENDED_TAIL: Final = _encode_tail(EXTENDED, b"", (0, 0))
_EXTENDED_SUM: Final = sum(_EXTENDED_TAIL)


# Reading


class Header:
    """A ustar block as it was read; nothing is checked but its checksum and the form of its numbers."""

    __slots__ = ("device", "gid", "kind", "link", "mode", "mtime", "name", "size", "uid")

    def __init__(self, block: bytes) -> None:
        """Parse a block. Raises ArchiveError."""
        check(block)
        self.name = _text(block[:100])
        self.mode = _number(block[100:108])
        self.uid = _number(block[108:116])
        self.gid = _number(block[116:124])
        self.size = _number(block[124:136])
        self.mtime = _number(block[136:148])
        self.kind = block[156:157]
        self.link = _text(block[157:257]) if block[157] else b""
        self.device = (0, 0)
        if block[329:345] != _NO_DEVICE:
            self.device = _number(block[329:337]), _number(block[337:345])
        if self.kind == b"\0":
            # The oldest format has no kind of its own for directories.
            self.kind = DIRECTORY if self.name.endswith(b"/") else FILE
        if block[345]:
            self.name = b"%b/%b" % (_text(block[345:500]), self.name)


def check(block: bytes) -> None:
    """Compare the checksum of a block. Raises ArchiveError."""
    field = block[_CHECKSUM]
    blank = _CHECKSUM_BLANK - sum(field)
    # The lower half of Adler-32 is the sum of all bytes plus one, modulo 65521, in a tenth of the time of sum(). The
    # sum of a block of ASCII is less.
    if block.isascii() and field == b"%06o\0 " % ((adler32(block) & 0xFFFF) - 1 + blank):
        return
    if _parse_number(field) != sum(block) + blank:
        raise ArchiveError("not a tar header: bad checksum")


def read_size(block: bytes) -> int:
    """Return the size in a block, of which nothing else matters. Raises ArchiveError."""
    check(block)
    return _number(block[124:136])


def _text(field: bytes) -> bytes:
    return field[: field.find(b"\0")] if b"\0" in field else field


def _number(field: bytes) -> int:
    """Return the number in a field: most are those of earlier members."""
    number = _known.get(field)
    if number is None:
        number = _parse_number(field)
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        _known[field] = number
    return number


def _parse_number(field: bytes) -> int:
    digits = field[:-1]
    if not (digits.isdigit() and field[-1] in b"\0 "):
        if field[0] in (_POSITIVE, _NEGATIVE):
            return int.from_bytes(field[1:], "big") - (256 ** len(digits) if field[0] == _NEGATIVE else 0)
        digits = _text(field).strip(b" ") or b"0"
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise ArchiveError("not a tar header: a number that is not octal")


def parse_records(body: bytes) -> dict[bytes, bytes]:
    """Return the records of an extended header. Raises ArchiveError."""
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


def read_attributes(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the extended attributes of a file in the records of an extended header."""
    return {
        key[len(_ATTRIBUTE) :].replace(b"%3D", b"=").replace(b"%25", b"%"): value
        for key, value in records.items()
        if key.startswith(_ATTRIBUTE)
    }


def padding(size: int) -> bytes:
    """Return the padding that follows `size` bytes of data."""
    return bytes(-size % BLOCK)


def format_time(nanoseconds: int) -> bytes:
    """Return a time in the form of extended headers."""
    sign = b"-" if nanoseconds < 0 else b""
    return b"%b%d.%09d" % (sign, *divmod(abs(nanoseconds), SECOND))


def parse_time(text: bytes) -> int:
    """Parse a time of an extended header; return nanoseconds since 1970. Raises ArchiveError."""
    negative = text.startswith(b"-")
    whole, _, fraction = text[negative:].partition(b".")
    if not (0 < len(whole) <= 20 and whole.isdigit() and len(fraction) <= 40 and (fraction + b"0").isdigit()):
        raise ArchiveError("a malformed time")
    nanoseconds = int(whole) * SECOND + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds
