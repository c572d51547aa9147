"""Random tar streams: members of all kinds with names that lead anywhere, and what comes of them by damage."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Sequence
from typing import Any, Final

_BLOCK: Final = 512
_NAMES: Final[Sequence[str]] = (
    *(
        "a",
        "a/b",
        "a/b/c",
        "a/b/c/d",
        "link",
        "link/x",
        "hard",
        "b",
        "b/link",
        "b/link/x",
        ".",
        "./a",
        "a/",
        "a//b",
        "",
    ),
    *(
        "..",
        "../x",
        "../outside/secret",
        "a/../../outside/x",
        "/outside",
        "a/./b",
        "a/..",
        "x" * 200,
        "x" * 300,
        "d/" * 60,
    ),
    *("\udcff", "\x1b[2J", "new\nline", ".a.phoenix-part", "\u00e9"),
)
_LINKS: Final[Sequence[str]] = (
    "a",
    "b",
    "..",
    "../outside",
    "../outside/secret",
    "/etc/passwd",
    "link",
    ".",
    "",
    "a/b",
    "hard",
)
_TYPES: Final = (
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
    *(tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.AREGTYPE, b"Z"),
)
_SIZES: Final = (0, 1, 5, 511, 512, 513, 3000)
_KEYS: Final = (
    "path",
    "linkpath",
    "size",
    "mtime",
    "uid",
    "gid",
    "uname",
    "GNU.sparse.map",
    "SCHILY.xattr.user.x",
    "SCHILY.xattr.",
    "SCHILY.xattr.user.%3D%25",
    "SCHILY.xattr.security.capability",
    "SCHILY.xattr.trusted.x",
    "SCHILY.xattr.system.posix_acl_access",
    "x",
)
_VALUES: Final[Sequence[str]] = (
    "",
    "1",
    "-1",
    "a",
    "../x",
    "9" * 30,
    "1.5",
    "nan",
    "x" * 5000,
    "\udcff",
    "1e9",
    " 1",
    "0x1",
)
_FIELDS: Final = (
    (0, 100),
    (100, 108),
    (108, 116),
    (124, 136),
    (136, 148),
    (148, 156),
    (156, 157),
    (257, 265),
    (345, 500),
)


def archive(chance: random.Random) -> bytes:
    """Return a tar stream."""
    data = b"".join(_member(chance) for _ in range(chance.randrange(1, 12)))
    if chance.random() < 0.8:
        data += bytes(2 * _BLOCK)
    if chance.random() < 0.4:
        data = _damage(chance, data)
    return data


def _member(chance: random.Random) -> bytes:
    kind = chance.choice(_TYPES)
    content = chance.randbytes(chance.choice(_SIZES)) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else b""
    member = tarfile.TarInfo(chance.choice(_NAMES))
    member.type, member.linkname = kind, chance.choice(_LINKS)
    member.size = len(content) if chance.random() < 0.95 else chance.choice((0, 1, 2**33, 10**12))
    member.mode = chance.choice((0o644, 0o755, 0, 0o7777, 0o4755))
    member.uid, member.gid = chance.choice((0, 1000, 2**21, 2**40)), chance.choice((0, 1000))
    member.mtime = chance.choice((0, 1, 10**9, 2**36, -1))
    if chance.random() < 0.2:
        member.pax_headers = {chance.choice(_KEYS): chance.choice(_VALUES) for _ in range(chance.choice((1, 2)))}
    header = _header(chance, member)
    if chance.random() < 0.1:
        header = _with_field(chance, header)
    before = _extended(chance) if chance.random() < 0.1 else b""
    return before + header + content + bytes(-len(content) % _BLOCK)


def _header(chance: random.Random, member: tarfile.TarInfo) -> bytes:
    for form in (chance.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)), tarfile.PAX_FORMAT):
        try:
            return member.tobuf(form, "utf-8", "surrogateescape")
        except ValueError:
            continue
    return bytes(_BLOCK)


def _with_field(chance: random.Random, header: bytes) -> bytes:
    """Return the header with one field replaced, and a checksum that is right."""
    block = bytearray(header[-_BLOCK:])
    start, end = chance.choice(_FIELDS)
    value: Any = chance.choice(
        (b"\xff" * 12, b"\x80" + bytes(11), b"7" * 12, b"-1", b"", b" 8\0", chance.randbytes(12))
    )
    block[start:end] = value[: end - start].ljust(end - start, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return header[:-_BLOCK] + bytes(block)


def _extended(chance: random.Random) -> bytes:
    """Return an extended header with records of any form."""
    records = b"".join(
        b"%d %s=%s\n"
        % (
            chance.choice((0, 5, 20, 10**9)),
            chance.choice(_KEYS).encode(),
            chance.choice(_VALUES).encode("utf-8", "surrogateescape"),
        )
        for _ in range(chance.choice((1, 2, 50)))
    )
    member = tarfile.TarInfo("pax")
    member.type, member.size = chance.choice((b"x", b"x", b"g", b"X")), len(records)
    return member.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % _BLOCK)


def _damage(chance: random.Random, data: bytes) -> bytes:
    """Return a stream with some places changed, or without its end."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 2, 5))):
        place = chance.randrange(len(damaged))
        damaged[place : place + chance.choice((1, 1, 8))] = chance.randbytes(chance.choice((1, 1, 8)))
    if chance.random() < 0.3:
        del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)
