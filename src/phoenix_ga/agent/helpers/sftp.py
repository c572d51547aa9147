"""The helper process that serves SFTP version 3 on stdin and stdout, as the user that it was started for.

It reads a request, carries it out and answers it, one after the other: clients send many requests ahead.
"""

from __future__ import annotations

import os
import sys
from errno import EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOSYS, ENOTDIR, EOPNOTSUPP, EPERM

from phoenix_ga.agent.helpers import sftp_packets as packets
from phoenix_ga.agent.helpers.sftp_files import EXTENSIONS, Files, OpenFiles
from phoenix_ga.agent.helpers.sftp_packets import Malformed, Packet, packet, status_packet, string, u32
from phoenix_ga.agent.operations.account import Account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_READ_SIZE: Final = 256 * 1024
# Answers that wait until there is no further request; then they are written together.
_ANSWERS_MAX: Final = 1024 * 1024
_FILES_MAX: Final = 4096
_HEADER: Final = 4
# As OpenSSH's server maps them.
_CODES: Final = {
    **dict.fromkeys((ENOENT, ENOTDIR, EBADF, ELOOP), packets.NO_SUCH_FILE),
    **dict.fromkeys((EPERM, EACCES, EFAULT), packets.PERMISSION_DENIED),
    **dict.fromkeys((ENAMETOOLONG, EINVAL), packets.BAD_MESSAGE),
    **dict.fromkeys((ENOSYS, EOPNOTSUPP), packets.OP_UNSUPPORTED),
}
_FAILED: Final = 2


def main() -> None:
    """Run the helper process: the user, empty for the present one, and the word `read-only`. Never returns."""
    user, *flags = sys.argv[1:]
    server = Server(read_only="read-only" in flags)
    _become(Account(user))
    pending = bytearray()
    try:
        while data := os.read(0, _READ_SIZE):
            pending += data
            _write(server.receive(pending))
    except Malformed:
        os.write(2, b"the client broke the protocol\n")
        os._exit(_FAILED)
    except BrokenPipeError:
        os._exit(_FAILED)
    os._exit(0)


def _become(account: Account) -> None:
    """Take the rights of a user, and go home. After all imports: the user may not read the agent's files."""
    if account.changes:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    try:
        os.chdir(account.home)
    except OSError:
        os.chdir("/")


def _write(answers: bytearray) -> None:
    with memoryview(answers) as data:
        rest = data
        while rest:
            rest = rest[os.write(1, rest) :]


class Server:
    """One session. read_only: refuse whatever changes a file."""

    def __init__(self, read_only: bool) -> None:
        self._open = OpenFiles(_raise_file_limit())
        self._files = Files(self._open, read_only)
        self._requests = self._files.requests()
        self._extensions = self._files.extensions()
        self._started = False

    def receive(self, pending: bytearray) -> bytearray:
        """Carry out the complete requests in a buffer, and remove them; return the answers. Raises Malformed."""
        answers = bytearray()
        at = 0
        while len(pending) - at >= _HEADER:
            size = int.from_bytes(pending[at : at + _HEADER], "big")
            if not 1 <= size <= packets.PACKET_MAX:
                raise Malformed
            end = at + _HEADER + size
            if end > len(pending):
                break
            kind = pending[at + _HEADER]
            answers += self._answer(kind, Packet(bytes(pending[at + _HEADER + 1 : end])))
            at = end
            if len(answers) > _ANSWERS_MAX:
                _write(answers)
                answers = bytearray()
        del pending[:at]
        return answers

    def _answer(self, kind: int, request: Packet) -> bytes:
        if kind == packets.INIT:
            request.u32()
            self._started = True
            extensions = [string(part) for pair in EXTENSIONS.items() for part in pair]
            return packet(packets.ANSWER_VERSION, u32(packets.VERSION), *extensions)
        if not self._started:
            raise Malformed
        number = request.u32()
        work = self._requests.get(kind)
        try:
            if kind == packets.EXTENDED:
                work = self._extensions.get(request.string())
            if work is None:
                return status_packet(number, packets.OP_UNSUPPORTED, "not supported")
            answer = work(request)
            if answer is None:
                return status_packet(number, packets.OK, "")
            return packet(answer[0], u32(number), answer[1])
        except Malformed:
            return status_packet(number, packets.BAD_MESSAGE, "malformed request")
        except EOFError:
            return status_packet(number, packets.EOF, "end of file")
        except OSError as error:
            code = _CODES.get(error.errno or 0, packets.FAILURE)
            return status_packet(number, code, error.strerror or str(error))
        except (ValueError, OverflowError) as error:
            # A number that no system call takes.
            return status_packet(number, packets.FAILURE, str(error))


def _raise_file_limit() -> int:
    """Let this process open as many files as are useful; return how many handles there may be."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    # Some are needed for a moment, such as to list a directory.
    return max(min(soft if soft != resource.RLIM_INFINITY else wanted, wanted) - 16, 8)
