"""The SSH keys that may log in as a user: `.ssh/authorized_keys` in the home directory, see sshd(8).

The user can put anything there, such as symbolic links and hard links to files of others, and the agent is root. So
no link is followed, each step starts from an open directory, the new file replaces the old one atomically, and a file
that the user could not read is not read.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Collection
    from typing import Final

# Maximum size of the file, in bytes; no user has so many keys.
SIZE_MAX: Final = 1024 * 1024
_PIECE_SIZE: Final = 64 * 1024
_DIRECTORY: Final = ".ssh"
_NAME: Final = "authorized_keys"
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Opening a FIFO must not block.
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAKE_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LABEL: Final = "security.selinux"
# Concurrent changes of one file would overwrite each other. One lock per user, because a home directory may hang.
_locks: dict[int, LockType] = {}


class AuthorizedKeys:
    """The authorized_keys file of a user.

    Every method raises OSError, whose text names the step that failed and the path. Constructing it
    raises OSError (ENOENT) if there is no such user.
    """

    def __init__(self, user: str) -> None:
        try:
            entry = pwd.getpwnam(user)
        except (KeyError, ValueError):
            raise OSError(errno.ENOENT, f"failed to lookup user '{user}': No such user") from None
        self._home = entry.pw_dir
        self._uid = entry.pw_uid
        self._gid = entry.pw_gid
        self._directory_path = os.path.join(self._home, _DIRECTORY)
        self._path = os.path.join(self._directory_path, _NAME)

    def keys(self) -> list[str]:
        """Return the keys in the order of the file, without comments. Raises OSError; ENOENT if it is missing."""
        directory = self._open_directory()
        try:
            stripped = [line.strip() for line in self._read(directory)[0]]
        finally:
            os.close(directory)
        return [line for line in stripped if line and not line.startswith("#")]

    def add(self, keys: Collection[str], *, reset: bool = False) -> None:
        """Add the keys that are missing; reset: remove all others first. Creates the directory and the file."""
        with self._lock():
            directory = self._make_directory()
            try:
                lines: list[str] = []
                label = None
                if not reset:
                    try:
                        lines, label = self._read(directory)
                    except FileNotFoundError:
                        pass
                there = {line.strip() for line in lines}
                for key in keys:
                    if key.strip() and key.strip() not in there:
                        there.add(key.strip())
                        lines.append(key)
                self._replace(directory, lines, label)
            finally:
                os.close(directory)

    def remove(self, keys: Collection[str]) -> None:
        """Remove the keys. Missing keys, or a missing file, are no error."""
        gone = {key.strip() for key in keys} - {""}
        with self._lock():
            try:
                directory = self._open_directory()
            except (FileNotFoundError, NotADirectoryError):
                return
            try:
                lines, label = self._read(directory)
                left = [line for line in lines if line.strip() not in gone]
                if left != lines:
                    self._replace(directory, left, label)
            except FileNotFoundError:
                return
            finally:
                os.close(directory)

    def _lock(self) -> LockType:
        return _locks.setdefault(self._uid, allocate_lock())

    def _open_directory(self) -> int:
        try:
            home = os.open(self._home, _OPEN_DIRECTORY)
            try:
                return _open_below(home)
            finally:
                os.close(home)
        except OSError as error:
            raise self._failed_to_read(error) from error

    def _make_directory(self) -> int:
        try:
            home = os.open(self._home, _OPEN_DIRECTORY)
            try:
                try:
                    return _open_below(home)
                except FileNotFoundError:
                    os.mkdir(_DIRECTORY, 0o700, dir_fd=home)
                directory = _open_below(home)
                try:
                    os.fchown(directory, self._uid, self._gid)
                    os.fchmod(directory, 0o700)
                    os.fsync(home)
                except BaseException:
                    os.close(directory)
                    raise
                return directory
            finally:
                os.close(home)
        except NotADirectoryError as error:
            # Something else has the name of the directory.
            raise _failure("create directory", self._directory_path, errno.EEXIST) from error
        except OSError as error:
            raise _failure("create directory", self._directory_path, error.errno or 0) from error

    def _read(self, directory: int) -> tuple[list[str], bytes | None]:
        """Return the lines, and the label that SELinux has given to the file."""
        try:
            descriptor = os.open(_NAME, _OPEN_FILE, dir_fd=directory)
            try:
                self._check_readable(os.fstat(descriptor))
                content = b""
                while len(content) <= SIZE_MAX:
                    piece = os.read(descriptor, _PIECE_SIZE)
                    if not piece:
                        break
                    content += piece
                else:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                try:
                    label = os.getxattr(descriptor, _LABEL)
                except OSError:
                    label = None
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._failed_to_read(error) from error
        lines = content.decode("utf-8", "surrogateescape").split("\n")
        if not lines[-1]:
            del lines[-1]
        return lines, label

    def _check_readable(self, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        # Read only what the user owns or everybody can read, so that nobody else's secrets are disclosed.
        if status.st_uid != self._uid and not status.st_mode & stat.S_IROTH:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def _replace(self, directory: int, lines: Collection[str], label: bytes | None) -> None:
        content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        temporary = f".{_NAME}.{os.urandom(8).hex()}"
        try:
            if len(content) > SIZE_MAX:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            descriptor = os.open(temporary, _MAKE_FILE, 0o600, dir_fd=directory)
            try:
                _write(descriptor, content)
                if label is not None:
                    _ignore_failure(lambda: os.setxattr(descriptor, _LABEL, label))
                os.fchmod(descriptor, 0o600)
                os.fchown(descriptor, self._uid, self._gid)
                os.fsync(descriptor)
                os.rename(temporary, _NAME, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                _ignore_failure(lambda: os.unlink(temporary, dir_fd=directory))
                raise
            finally:
                os.close(descriptor)
            os.fsync(directory)
        except OSError as error:
            raise _failure("write to", self._path, error.errno or 0) from error

    def _failed_to_read(self, error: OSError) -> OSError:
        reason = os.strerror(error.errno or 0)
        step = "Error reading" if error.errno == errno.EISDIR else "Failed to open"
        text = f"failed to read '{self._path}': {step} file \u201c{self._path}\u201d: {reason}"
        return OSError(error.errno, text)


def _open_below(home: int) -> int:
    try:
        return os.open(_DIRECTORY, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=home)
    except NotADirectoryError:
        # Also the error for a symbolic link.
        if stat.S_ISLNK(os.stat(_DIRECTORY, dir_fd=home, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def _failure(step: str, path: str, code: int) -> OSError:
    return OSError(code, f"failed to {step} '{path}': {os.strerror(code)}")


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _ignore_failure(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        pass
