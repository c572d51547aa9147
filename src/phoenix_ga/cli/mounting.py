"""Mounting files of a guest with sshfs(1), which talks SFTP to a process of ours."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from phoenix_ga.cli.errors import REFUSED, complain, report

_MOUNTS: Final = "/proc/self/mountinfo"
_TYPE: Final = "fuse.sshfs"
# Seconds between two looks at the processes, while the kernel tells when something is mounted.
_PAUSE: Final = 0.1
_PIECE: Final = 64 * 1024
_UNMOUNTERS: Final = ("fusermount3", "fusermount")


class NotMountedError(OSError):
    """Mounting or unmounting failed; `strerror` has the reason, if a program has not printed it."""


def is_mounted(directory: str, kind: str = "") -> bool:
    """Return whether something is mounted at a directory. kind: the type of filesystem; empty: any.

    The directory itself is not touched: a filesystem whose guest is gone would block.
    """
    wanted = os.fsencode(os.path.join(os.path.realpath(os.path.dirname(directory)), os.path.basename(directory)))
    with open(_MOUNTS, "rb") as file:
        for line in file:
            fields = line.split()
            # proc(5): the mount point is the fifth field, and the type follows a hyphen.
            found = fields[fields.index(b"-") + 1].decode("ascii", "replace")
            if _unescape(fields[4]) == wanted and kind in ("", found):
                return True
    return False


def _unescape(text: bytes) -> bytes:
    for sign in (b" ", b"\t", b"\n", b"\\"):
        text = text.replace(b"\\%03o" % sign[0], sign)
    return text


def mount(
    serve: Callable[[], int], source: str, path: str, directory: str, options: Sequence[str], timeout: float
) -> None:
    """Mount a directory of a guest; return when it is mounted. Two processes stay, until it is unmounted.

    Args:
        serve: connects stdin and stdout to the guest; runs in a process of its own.
        source: the name of the filesystem in the list of mounts.
        path: in the guest.
        options: of sshfs, in addition.
        timeout: in seconds.

    Raises:
        NotMountedError: if it failed.
    """
    sshfs = shutil.which("sshfs")
    if sshfs is None:
        raise NotMountedError(0, "sshfs is missing on this host; install it (Debian: apt-get install sshfs)")
    if not os.path.isdir(directory):
        raise NotMountedError(0, f"{directory} is not a directory of this host")
    if is_mounted(directory):
        raise NotMountedError(0, f"something is mounted at {directory} already")
    ours, theirs = socket.socketpair()
    # What the processes print is passed on until it is mounted; later, nobody would read it.
    errors, errors_end = os.pipe()
    os.set_blocking(errors, False)
    pids: list[int] = []
    try:
        pids.append(_fork(serve, ours.fileno(), theirs.fileno(), errors_end))
        name = source.replace("\\", "\\\\").replace(",", "\\,")
        argv = [sshfs, f":{path}", directory, "-f", "-o", f"passive,fsname={name}"]
        for option in options:
            argv += ["-o", option]
        client = subprocess.Popen(
            argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors_end, start_new_session=True
        )
        pids.append(client.pid)
        ours.close()
        theirs.close()
        os.close(errors_end)
        errors_end = -1
        _wait_until_mounted(directory, pids[0], client, errors, timeout)
    except BaseException:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise
    finally:
        ours.close()
        theirs.close()
        _pass_on(errors)
        for fd in (errors, errors_end):
            if fd >= 0:
                os.close(fd)


def _fork(serve: Callable[[], int], link: int, other: int, errors: int) -> int:
    """Return the process ID of a child that serves until the other end of the link is closed."""
    pid = os.fork()
    if not pid:
        _serve(serve, link, other, errors)
    return pid


def _serve(serve: Callable[[], int], link: int, other: int, errors: int) -> NoReturn:
    status = REFUSED
    try:
        os.setsid()
        for number, fd in enumerate((link, link, errors)):
            os.dup2(fd, number)
        # The other end must not stay open here.
        os.closerange(3, max(link, errors, other) + 1)
        status = serve()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else REFUSED
    except Exception as error:
        status = report(error)
    finally:
        os._exit(status)


def _wait_until_mounted(
    directory: str, server: int, client: subprocess.Popen[bytes], errors: int, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    with open(_MOUNTS, "rb") as mounts:
        changed = select.poll()
        changed.register(mounts, select.POLLPRI)
        changed.register(errors, select.POLLIN)
        while not is_mounted(directory, _TYPE):
            _pass_on(errors)
            if os.waitpid(server, os.WNOHANG)[0]:
                # It has told why.
                raise NotMountedError(0, "")
            if client.poll() is not None:
                raise NotMountedError(0, f"sshfs ended with status {client.returncode}")
            if time.monotonic() > deadline:
                raise NotMountedError(0, f"nothing was mounted within {timeout:g} s")
            changed.poll(_PAUSE * 1000)


def _pass_on(errors: int) -> None:
    """Print what the processes have written to stderr."""
    try:
        while data := os.read(errors, _PIECE):
            os.write(2, data)
    except OSError:
        pass


def unmount(directory: str, lazy: bool) -> int:
    """Unmount what `mount` has mounted; return an exit status. lazy: also if files are open."""
    if not is_mounted(directory, _TYPE):
        complain(f"no files of a guest are mounted at {directory}", REFUSED)
        return REFUSED
    program = next(filter(None, map(shutil.which, _UNMOUNTERS)), None)
    if program is None:
        complain("fusermount3 is missing on this host; install it (Debian: apt-get install fuse3)", REFUSED)
        return REFUSED
    # It tells what is wrong.
    argv = [program, "-u", *["-z"] * lazy, "--", directory]
    return REFUSED if subprocess.run(argv, check=False).returncode else 0
