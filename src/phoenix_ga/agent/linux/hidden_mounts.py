"""Reaching a filesystem to which no path leads, because other mounts cover it or it is in another mount namespace.

Any user can mount FUSE over a mount point that they own. That must not keep the agent from the filesystem below.
A child process unshares its mount namespace, see mount_namespaces(7), unmounts there what is in the way, opens the
filesystem, and passes the descriptor back. Nobody else sees any of that.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import stat
from struct import Struct

from phoenix_ga.agent.linux.descriptors import close_all_but
from phoenix_ga.agent.linux.mounts import Mount, MountTree, parse_mounts, telling
from phoenix_ga.agent.linux.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import Any, Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

# Seconds after which the child is killed. A path may lead through a network filesystem that hangs.
TIME_LIMIT: Final = 10.0

# linux/mount.h
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_CLONE_NEWNS: Final = 0x20000
# Where the child mounts what has no mount point of its own.
_PLACE: Final = b"/sys"
_INT: Final = Struct("i")


def open_hidden(device: int, blocks: Sequence[int], namespace: int = 0) -> int:
    """Open a directory or a regular file of a mounted filesystem, wherever it is mounted; return the descriptor.

    Args:
        device: its number in mountinfo.
        blocks: numbers of the block devices that it is on, which help if only special files of it are mounted.
        namespace: a process in whose mount namespace it is mounted; 0: this one.

    Raises:
        OSError: ETIMEDOUT if that takes too long; EPERM without CAP_SYS_ADMIN. The text says what failed.
    """
    from _socket import AF_UNIX, CMSG_SPACE, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair

    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        # A signal to the child would be written to the agent's wake-up pipe.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            process = os.fork()
            if process == 0:
                _serve(theirs, device, blocks, namespace)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        try:
            poll = select.poll()
            poll.register(ours.fileno(), select.POLLIN)
            if not poll.poll(TIME_LIMIT * 1000):
                raise OSError(errno.ETIMEDOUT, f"opening it took longer than {TIME_LIMIT:g} seconds")
            reply, attached, _, _ = ours.recvmsg(4096, CMSG_SPACE(_INT.size), MSG_CMSG_CLOEXEC)
        finally:
            _end(process)
    finally:
        ours.close()
        theirs.close()
    if attached:
        (descriptor,) = _INT.unpack(attached[0][2])
        return int(descriptor)
    number, _, text = reply.decode("utf-8", "surrogateescape").partition(" ")
    raise OSError(int(number or errno.EIO), text or "the process that opens it ended early")


def _end(process: int) -> None:
    """Kill the child. It may be stuck in the kernel, so do not wait for that."""
    os.kill(process, signal.SIGKILL)
    try:
        start_thread(lambda: os.waitpid(process, 0), "the end of a process")
    except OSError:
        os.waitpid(process, os.WNOHANG)


def _serve(theirs: socket, device: int, blocks: Sequence[int], namespace: int) -> None:
    """Be the child. Never returns."""
    try:
        # Garbage-collected objects of the agent would close descriptor numbers that are in use again.
        gc.disable()
        close_all_but({0, 1, 2, theirs.fileno()})
        from _socket import SCM_RIGHTS, SOL_SOCKET

        try:
            descriptor = _open(device, blocks, namespace)
        except OSError as error:
            text = f"{error.errno or errno.EIO} {error.strerror}"
            theirs.send(text.encode("utf-8", "surrogateescape")[:4096])
        else:
            theirs.sendmsg([b"0"], [(SOL_SOCKET, SCM_RIGHTS, _INT.pack(descriptor))])
    finally:
        os._exit(0)


def _open(device: int, blocks: Sequence[int], namespace: int) -> int:
    libc = _Libc()
    # There may be no /proc there.
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if namespace:
        libc.enter(os.open(f"/proc/{namespace}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    libc.unshare(_CLONE_NEWNS)
    # Else what is unmounted here would be unmounted everywhere.
    libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE)
    with open(os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb") as file:
        tree = MountTree(parse_mounts(file.read()))
    mounts = sorted((mount for mount in tree.mounts if mount.device == device), key=telling)
    if not mounts:
        raise OSError(errno.ENOENT, "it is no longer mounted")
    failure = OSError(errno.ENOENT, "no directory or regular file of it is mounted")
    for mount in mounts:
        try:
            _uncover(mount, tree, libc)
            kind = os.stat(mount.path, follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind) or stat.S_ISREG(kind):
                return os.open(mount.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            failure = error
    try:
        return _mount_again(mounts[0], blocks, libc)
    except OSError as error:
        raise OSError(failure.errno, f"{failure.strerror}; {error.strerror}") from None


def _uncover(mount: Mount, tree: MountTree, libc: _Libc) -> None:
    """Unmount what is in the way of a mount."""
    while (covering := tree.covering(mount)) is not None:
        while (higher := tree.covering(covering)) is not None:
            covering = higher
        libc.umount(covering.path)
        tree.remove(covering)


def _mount_again(mount: Mount, blocks: Sequence[int], libc: _Libc) -> int:
    """Mount a filesystem by its block device, and open that. It is the same one, because it is mounted already."""
    libc.mount(b"none", _PLACE, b"tmpfs", 0)
    place, node = os.path.join(_PLACE, b"mounted"), os.path.join(_PLACE, b"device")
    os.mkdir(place)
    source = os.fsencode(mount.source)
    for block in blocks:
        if not _is_node(source, block):
            # btrfs would show this name to everybody.
            if mount.type == "btrfs":
                continue
            os.mknod(node, stat.S_IFBLK | 0o600, block)
            source = node
        libc.mount(source, place, mount.type.encode(), 0)
        return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def _is_node(path: bytes, block: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISBLK(status.st_mode) and status.st_rdev == block


class _Libc:
    """System calls that Python lacks. All raise OSError."""

    def __init__(self) -> None:
        try:
            # In the child only: it would add a tenth to the memory of an idle agent.
            import ctypes
        except ImportError:
            raise OSError(errno.ENOSYS, "this Python has no ctypes") from None
        self._library = ctypes.CDLL(None, use_errno=True)
        self._errno: Callable[[], int] = ctypes.get_errno
        self._long: Any = ctypes.c_ulong

    def unshare(self, flags: int) -> None:
        self._check(self._library.unshare(flags), "cannot make a mount namespace")

    def enter(self, namespace: int) -> None:
        self._check(self._library.setns(namespace, _CLONE_NEWNS), "cannot enter the mount namespace that it is in")

    def mount(self, source: bytes, target: bytes, type: bytes | None, flags: int) -> None:
        result = self._library.mount(source, target, type, self._long(flags), None)
        self._check(result, f"cannot mount it in a mount namespace of its own, at {os.fsdecode(target)}")

    def umount(self, target: bytes) -> None:
        result = self._library.umount2(target, _MNT_DETACH | _UMOUNT_NOFOLLOW)
        self._check(result, f"cannot unmount {os.fsdecode(target)}, which covers it, in a mount namespace of its own")

    def _check(self, result: int, text: str) -> None:
        if result != 0:
            number = self._errno()
            raise OSError(number, f"{text}: {os.strerror(number)}")
