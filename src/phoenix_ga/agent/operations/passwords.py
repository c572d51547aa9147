"""Setting passwords by chpasswd(8), which knows where and how the guest stores them."""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.operations.processes import spawn_bare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# PAM accepts no longer ones (PAM_MAX_RESP_SIZE), in bytes.
LENGTH_MAX: Final = 512
# Searched after PATH, which may lack the directories for root.
SEARCH_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"


def set_password(user: str, password: bytes, *, encrypted: bool) -> None:
    """Set the password of a user. encrypted: it is a hash, see crypt(5).

    Raises OSError: EINVAL if the name or the password contains a character that chpasswd cannot
    accept, ENOENT if there is no chpasswd, EPERM if it failed.
    """
    if b"\n" in password or b"\0" in password:
        raise OSError(errno.EINVAL, "forbidden characters in raw password")
    if any(character in user for character in ":\n\0"):
        raise OSError(errno.EINVAL, "forbidden characters in username")
    if len(password) > LENGTH_MAX:
        raise OSError(errno.EINVAL, f"the password is longer than {LENGTH_MAX} bytes")
    line = b"%s:%s\n" % (user.encode("utf-8", "surrogateescape"), password)
    path = f"{os.environ['PATH']}:{SEARCH_PATH}" if os.environ.get("PATH") else SEARCH_PATH
    try:
        process = spawn_bare("chpasswd", ["-e"] if encrypted else [], [f"PATH={path}"], True, "none", ())
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "cannot find 'passwd' program in PATH") from None
    # It fits into the pipe. If chpasswd does not read it, its exit status says so.
    try:
        os.write(process.stdin, line)
    except BrokenPipeError:
        pass
    finally:
        os.close(process.stdin)
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFEXITED(status):
        raise OSError(errno.EPERM, "child process has terminated abnormally")
    if os.WEXITSTATUS(status):
        raise OSError(errno.EPERM, "child process has failed to set user password")
