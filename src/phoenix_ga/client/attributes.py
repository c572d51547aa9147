"""What a copy of a file takes over from its source, and from the file that it replaces."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Union

from phoenix_ga.trees.xattrs import (
    is_known,
    is_unprivileged,
    is_usual,
    list_names,
    read_attributes,
    set_attributes,
    text_left_out,
    text_refused,
)

if TYPE_CHECKING:
    from phoenix_ga.client.file_streams import FileStream

_ACCESS_LIST: Final = b"system.posix_acl_access"
# What belongs to the old content: the privileges of a program, and signatures.
_OF_CONTENT: Final = (b"security.capability", b"security.ima", b"security.evm")

Xattrs = Union[bool, Literal["all"]]


@dataclass(frozen=True)
class Taken:
    """What to take over from the source. See `Guest.get`.

    Attributes:
        permissions: in place of those of both files; None: those of the replaced file, or else of the source.
        preserve: take over permissions, modification time and owner.
        xattrs: take over permissions and extended attributes; "all": also those that only root can set.
    """

    permissions: int | None = None
    preserve: bool = False
    xattrs: Xattrs = False

    def from_host(self, fd: int, local: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the arguments of `put_stream` for an open file of this host, and notes on what is left out."""
        status = os.fstat(fd)
        with _named(local):
            if self.xattrs:
                attributes = read_attributes(fd, is_known if self.xattrs == "all" else is_usual)
                notes: tuple[str, ...] = ()
            else:
                attributes = {}
                notes = self.left_out(list_names(fd))
        owner = status.st_uid, status.st_gid
        return self._arguments(status.st_mode, owner, status.st_mtime_ns, attributes), notes

    def from_guest(self, source: FileStream) -> dict[str, Any]:
        """Return the arguments of `put_stream` for a file of another guest."""
        return self._arguments(
            source.permissions, (source.uid, source.gid), source.mtime, self._of_guest(source.xattrs)
        )

    def left_out(self, names: Iterable[bytes]) -> tuple[str, ...]:
        """Return a note if usual attributes of a file of a guest are left out; of the host, only without `xattrs`."""
        if self.xattrs == "all":
            return ()
        left = sorted(name for name in names if is_usual(name) and not (self.xattrs and is_unprivileged(name)))
        if not left:
            return ()
        return (text_refused(left) if self.xattrs else text_left_out(left),)

    def _of_guest(self, attributes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
        wanted = is_known if self.xattrs == "all" else is_unprivileged
        return {name: value for name, value in attributes.items() if value is not None and wanted(name)}

    def _arguments(
        self, mode: int, owner: tuple[int, int], mtime: int, attributes: dict[bytes, bytes]
    ) -> dict[str, Any]:
        if not (self.preserve or self.xattrs):
            return {"permissions": self.permissions, "new_permissions": mode & 0o777}
        arguments: dict[str, Any] = {
            "permissions": mode & 0o777 if self.permissions is None else self.permissions,
            "xattrs": attributes,
        }
        if self.preserve:
            arguments.update(uid=owner[0], gid=owner[1], mtime=mtime)
        return arguments

    def apply(self, fd: int, target: str, source: FileStream) -> None:
        """Give a file of this host the attributes of the file `target` that it replaces, and those of its source.

        It gets owner, permissions and extended attributes of `target`, or if there is none, the permissions of
        `source`. With `preserve`, it gets permissions, modification time and, if this process is root, the owner of
        `source`. Set-ID bits are never taken over, nor are capabilities of `target`, and another user's file gets the
        owner of this process if that is not root.
        """
        permissions = source.permissions & 0o777 if self.permissions is None else self.permissions
        try:
            old = os.stat(target)
        except FileNotFoundError:
            pass
        else:
            if self.permissions is None and not (self.preserve or self.xattrs):
                permissions = old.st_mode & 0o1777
            _copy_attributes(fd, target)
            with suppress(PermissionError):
                os.fchown(fd, old.st_uid, old.st_gid)
        try:
            if self.preserve and os.geteuid() == 0:
                os.fchown(fd, source.uid, source.gid)
            if self.xattrs:
                with _named(target):
                    # After fchown, which clears capabilities.
                    set_attributes(fd, self._of_guest(source.xattrs))
            # After the access control list, which contains permissions, and after fchown.
            os.fchmod(fd, permissions)
            if self.preserve:
                os.utime(fd, ns=(time.time_ns(), source.mtime))
        except OverflowError:
            raise OSError(errno.EINVAL, "the guest sent an owner that no file can have", target) from None


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Add `path` to the errors of an open file."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def _copy_attributes(fd: int, target: str) -> None:
    names = list_names(target, lambda name: True)
    for name in list_names(fd, lambda name: True):
        # The default access control list of the directory is for new files.
        if name == _ACCESS_LIST and name not in names:
            os.removexattr(fd, name)
    for name in names:
        if name not in _OF_CONTENT:
            with suppress(PermissionError) if name != _ACCESS_LIST else nullcontext():
                os.setxattr(fd, name, os.getxattr(target, name))
