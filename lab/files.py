"""Files on their way into a guest, packed as the tar archive that its initramfs or shell unpacks."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Union


@dataclass(frozen=True)
class GuestFile:
    """A file made from `content`, with the permissions `mode`."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Symlink:
    """A symbolic link to `target`, a path in the guest."""

    target: str


#: A file or directory of the host (its permissions are kept), content (mode 644), or one of the above.
Source = Union[Path, bytes, GuestFile, Symlink]


def write_archive(stream: IO[bytes], files: Mapping[str, Source]) -> None:
    """Write `files` (absolute path in the guest -> what goes there), all owned by root, to `stream` as tar."""
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
    """The raw disk over which files get into the guest; QEMU has it open too, as serial `lab-transfer`.

    A disk and not the serial port: megabytes take no time, and the initramfs can read it before anything runs.
    """

    NAME = "transfer.raw"
    SERIAL = "lab-transfer"
    SIZE = 512 << 20

    def __init__(self, directory: Path) -> None:
        self.path = directory / self.NAME
        with self.path.open("wb") as stream:
            stream.truncate(self.SIZE)

    def put(self, files: Mapping[str, Source]) -> None:
        """Write the archive of `files` to the disk; raises ValueError if they are too many."""
        with self.path.open("r+b") as stream:
            write_archive(stream, files)
            size = stream.tell()
            if size > self.SIZE:
                raise ValueError(f"{size} bytes are too many for the guest's transfer disk of {self.SIZE}")

    def wipe(self) -> None:
        """Make the disk empty for the guest's next boot."""
        with self.path.open("r+b") as stream:
            stream.write(bytes(4096))
