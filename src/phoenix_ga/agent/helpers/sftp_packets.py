"""The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), and the extensions of OpenSSH (its PROTOCOL file)."""

from __future__ import annotations

import os
import stat
import time
from struct import Struct
from struct import error as StructError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

VERSION: Final = 3
# A longer packet ends the session; as OpenSSH's server.
PACKET_MAX: Final = 256 * 1024
DATA_MAX: Final = PACKET_MAX - 1024

INIT: Final = 1
ANSWER_VERSION: Final = 2
EXTENDED: Final = 200
STATUS: Final = 101
HANDLE: Final = 102
DATA: Final = 103
NAME: Final = 104
ATTRS: Final = 105
EXTENDED_REPLY: Final = 201

OK: Final = 0
EOF: Final = 1
NO_SUCH_FILE: Final = 2
PERMISSION_DENIED: Final = 3
FAILURE: Final = 4
BAD_MESSAGE: Final = 5
OP_UNSUPPORTED: Final = 8

SIZE: Final = 0x1
UIDGID: Final = 0x2
PERMISSIONS: Final = 0x4
ACMODTIME: Final = 0x8
ATTRS_EXTENDED: Final = 0x80000000

_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_ATTRIBUTES: Final = Struct(">IQIIIII")
_U32_MAX: Final = 2**32 - 1
_HALF_A_YEAR: Final = 182 * 86400


class Malformed(Exception):
    """A packet is not what the protocol says."""


class Attributes:
    """Attributes to set; each is None if it is to stay."""

    __slots__ = ("owner", "permissions", "size", "times")

    def __init__(self) -> None:
        self.size: int | None = None
        self.owner: tuple[int, int] | None = None
        self.permissions: int | None = None
        self.times: tuple[int, int] | None = None


class Packet:
    """The content of a request, read from its beginning. All methods raise Malformed if it is too short."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u32(self) -> int:
        """Return an unsigned integer of 32 bits."""
        return self._number(_U32)

    def u64(self) -> int:
        """Return an unsigned integer of 64 bits."""
        return self._number(_U64)

    def string(self) -> bytes:
        """Return a string of bytes."""
        size = self.u32()
        end = self._at + size
        if end > len(self._data):
            raise Malformed
        value = self._data[self._at : end]
        self._at = end
        return value

    def path(self) -> bytes:
        """Return a path; an empty one is the working directory."""
        path = self.string()
        if b"\0" in path:
            raise Malformed
        return path or b"."

    def numbers(self) -> list[int]:
        """Return a string of unsigned integers of 32 bits."""
        data = self.string()
        if len(data) % _U32.size:
            raise Malformed
        return [number for (number,) in _U32.iter_unpack(data)]

    def attributes(self) -> Attributes:
        """Return attributes to set."""
        found = Attributes()
        flags = self.u32()
        if flags & SIZE:
            found.size = self.u64()
        if flags & UIDGID:
            found.owner = self.u32(), self.u32()
        if flags & PERMISSIONS:
            found.permissions = self.u32()
        if flags & ACMODTIME:
            found.times = self.u32(), self.u32()
        if flags & ATTRS_EXTENDED:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return found

    def _number(self, form: Struct) -> int:
        try:
            value: int = form.unpack_from(self._data, self._at)[0]
        except StructError:
            raise Malformed from None
        self._at += form.size
        return value


def u32(value: int) -> bytes:
    """Encode an unsigned integer of 32 bits."""
    return _U32.pack(value)


def u64(value: int) -> bytes:
    """Encode an unsigned integer of 64 bits."""
    return _U64.pack(value)


def string(value: bytes) -> bytes:
    """Encode a string of bytes."""
    return _U32.pack(len(value)) + value


def packet(kind: int, *parts: bytes) -> bytes:
    """Encode a packet."""
    content = b"".join(parts)
    return _U32.pack(len(content) + 1) + bytes((kind,)) + content


def status_packet(number: int, code: int, text: str) -> bytes:
    """Encode the answer to a request that has no other answer, or has failed."""
    return packet(STATUS, u32(number), u32(code), string(text.encode("utf-8", "backslashreplace")), string(b"en"))


def attributes(status: os.stat_result) -> bytes:
    """Encode the attributes of a file. Times before 1970 and after 2106 cannot be encoded."""
    return _ATTRIBUTES.pack(
        SIZE | UIDGID | PERMISSIONS | ACMODTIME,
        max(status.st_size, 0),
        status.st_uid,
        status.st_gid,
        status.st_mode,
        min(max(int(status.st_atime), 0), _U32_MAX),
        min(max(int(status.st_mtime), 0), _U32_MAX),
    )


def long_name(name: bytes, status: os.stat_result, user: str, group: str) -> bytes:
    """Return the line of `ls -l` for a file, which clients show as it is."""
    moment = time.localtime(min(max(int(status.st_mtime), 0), _U32_MAX))
    is_recent = 0 <= time.time() - status.st_mtime < _HALF_A_YEAR
    shown = time.strftime("%b %e %H:%M" if is_recent else "%b %e  %Y", moment)
    owner, group = user or str(status.st_uid), group or str(status.st_gid)
    columns = f"{status.st_nlink:>4} {owner:<8} {group:<8} {status.st_size:>8} {shown} "
    return f"{stat.filemode(status.st_mode)} {columns}".encode("utf-8", "replace") + name
