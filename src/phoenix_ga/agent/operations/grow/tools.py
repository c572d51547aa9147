"""Running the programs of the guest that change disks, with a time limit."""

from __future__ import annotations

import errno
import os
import select
from time import monotonic

from phoenix_ga.agent.operations.processes import spawn_bare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal

_ENVIRONMENT: Final = ("PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "LC_ALL=C")
# Seconds: checking the largest filesystems takes minutes. A program that hangs must not keep others from growing.
TIME_LIMIT: Final = 900.0
_GRACE: Final = 10.0
_CHECK_INTERVAL: Final = 0.2
_OUTPUT_MAX: Final = 1 << 20
# What is told of the output of a program that failed, in characters.
_TOLD_MAX: Final = 500
# The packages of Debian and Fedora, where they have other names than the program.
_PACKAGES: Final = {
    "sfdisk": "fdisk, or util-linux",
    "partx": "util-linux",
    "lvs": "lvm2",
    "pvs": "lvm2",
    "pvresize": "lvm2",
    "lvextend": "lvm2",
    "cryptsetup": "cryptsetup-bin, or cryptsetup",
    "dmsetup": "dmsetup, or device-mapper",
    "resize2fs": "e2fsprogs",
    "xfs_growfs": "xfsprogs",
    "btrfs": "btrfs-progs",
}


def find_tool(name: str) -> None:
    """Raise OSError (ENOENT) that names the package if a program is missing."""
    for directory in _ENVIRONMENT[0].partition("=")[2].split(":"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return
    raise OSError(errno.ENOENT, f"the guest has no {name}: install its package {_PACKAGES.get(name, name)}")


def run_tool(argv: tuple[str, ...], given: bytes = b"", time_limit: float = TIME_LIMIT) -> str:
    """Run a program to its end; return what it wrote to stdout.

    Args:
        argv: The program and its arguments.
        given: What it reads from stdin, at most what fits into a pipe.
        time_limit: In seconds; then it is terminated.

    Raises:
        OSError: ENOENT if it is missing, ETIMEDOUT, or EIO with what it said if it failed.
    """
    find_tool(argv[0])
    child = spawn_bare(argv[0], argv[1:], _ENVIRONMENT, bool(given), "separated", ())
    try:
        if given:
            try:
                os.write(child.stdin, given)
            except BrokenPipeError:
                pass
            finally:
                os.close(child.stdin)
        outputs = {child.stdout: bytearray(), child.stderr: bytearray()}
        status = _wait(child.pid, outputs, monotonic() + time_limit)
    finally:
        os.close(child.stdout)
        os.close(child.stderr)
    if status is None:
        raise OSError(errno.ETIMEDOUT, f"{argv[0]} took more than {time_limit:g} seconds, and was terminated")
    if status != 0:
        text = (outputs[child.stderr] or outputs[child.stdout]).decode("utf-8", "replace")
        said = "; ".join(line.strip() for line in text.splitlines() if line.strip())
        raise OSError(errno.EIO, f"{argv[0]} failed: {said[-_TOLD_MAX:] or 'it did not say why'}")
    return outputs[child.stdout].decode("utf-8", "surrogateescape")


def _wait(pid: int, outputs: dict[int, bytearray], deadline: float) -> int | None:
    """Read the outputs of a program until it has ended; return its wait status, or None if it took too long."""
    poll = select.poll()
    for fd in outputs:
        poll.register(fd, select.POLLIN)
    terminated = 0.0
    while True:
        # Not until the pipes are closed: a program that it has left behind may have them open.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        for fd, _ in poll.poll(0 if ended else _CHECK_INTERVAL * 1000):
            if not _read_all(fd, outputs[fd]):
                poll.unregister(fd)
        if ended:
            _, status = os.waitpid(pid, 0)
            return None if terminated else status
        now = monotonic()
        if not terminated and now >= deadline:
            terminated = now
            _signal_group(pid, _signal.SIGTERM)
        elif terminated and now >= terminated + _GRACE:
            _signal_group(pid, _signal.SIGKILL)
            if now >= terminated + 2 * _GRACE:
                # It is stuck in the kernel. Nobody waits for it.
                return None


def _read_all(fd: int, output: bytearray) -> bool:
    """Read what there is, and keep the beginning of it; return whether more may come."""
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        output += data[: max(_OUTPUT_MAX - len(output), 0)]


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass
