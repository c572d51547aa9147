"""Files to put into a guest, packed in a tar archive that the guest's initramfs or shell unpacks."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Union


@dataclass(frozen=True)
class GuestFile:
    """A file with this content and these permissions."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Symlink:
    """A symbolic link to `target`, a path in the guest."""

    target: str


#: A file or directory of the host (permissions are kept), content (mode 644), or one of the above.
Source = Union[Path, bytes, GuestFile, Symlink]


def write_archive(stream: IO[bytes], files: Mapping[str, Source]) -> None:
    """Write `files` (absolute path in the guest -> source) to `stream` as a tar archive; root owns all of them."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive:
        for path, source in files.items():
            if not path.startswith("/"):
                raise ValueError(f"not an absolute path in the guest: {path!r}")
            _add(archive, path.lstrip("/"), source)


def _add(archive: tarfile.TarFile, name: str, source: Source) -> None:
    if isinstance(source, Path):
        archive.add(source, name, filter=_owned_by_root)
        return
    member = _owned_by_root(tarfile.TarInfo(name))
    if isinstance(source, Symlink):
        member.type = tarfile.SYMTYPE
        member.linkname = source.target
        archive.addfile(member)
        return
    file = GuestFile(source) if isinstance(source, bytes) else source
    member.mode = file.mode
    member.size = len(file.content)
    archive.addfile(member, io.BytesIO(file.content))


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


class TransferDisk:
    """The raw disk that carries files into the guest; QEMU attaches it with the serial number `lab-transfer`.

    A disk is faster than the serial port, and the initramfs can read it before anything else runs.
    """

    NAME = "transfer.raw"
    SERIAL = "lab-transfer"
    SIZE = 512 << 20

    def __init__(self, directory: Path) -> None:
        self.path = directory / self.NAME
        with self.path.open("wb") as stream:
            stream.truncate(self.SIZE)

    def put(self, files: Mapping[str, Source]) -> None:
        """Write an archive of `files` to the disk. Raises ValueError if it does not fit."""
        with self.path.open("r+b") as stream:
            write_archive(stream, files)
            size = stream.tell()
            if size > self.SIZE:
                raise ValueError(f"the files need {size} bytes; the transfer disk of the guest has {self.SIZE}")

    def wipe(self) -> None:
        """Erase the archive, so that the next boot of the guest does not unpack it again."""
        with self.path.open("r+b") as stream:
            stream.write(bytes(4096))
