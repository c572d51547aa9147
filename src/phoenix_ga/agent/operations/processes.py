"""Starting processes: with pipes or a pseudo-terminal, as any user, in a session of their own."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from struct import Struct

from phoenix_ga.agent.linux.descriptors import close_all_but
from phoenix_ga.agent.operations.account import Account
from phoenix_ga.agent.operations.child_start import StepError, start_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Container, Mapping, Sequence
    from typing import Final
else:
    # The module `signal` would load `enum`.
    import _signal as signal

_TERM: Final = "xterm-256color"
# The PATH for a program if neither its environment nor the agent's has one.
_BARE_PATH: Final = b"/bin:/usr/bin"
_SHELL: Final = b"/bin/sh"
# These are for the agent only.
_OWN_VARIABLES: Final = (
    b"MALLOC_ARENA_MAX",
    b"MALLOC_MMAP_THRESHOLD_",
    b"MALLOC_TRIM_THRESHOLD_",
    b"MALLOC_TOP_PAD_",
)
_UMASK: Final = 0o022
_FIRST_ERROR_WINS: Final = (errno.ENOENT, errno.ENOTDIR)
# Python ignores these; children must not.
_IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_WINSIZE: Final = Struct("HHHH")  # struct winsize of ioctl_tty(2): rows, columns, and two unused


class ChildProcess:
    """A process that was started.

    Attributes:
        pid: also its process group.
        stdin, stdout, stderr: our ends of the pipes, non-blocking; -1 if there is none. With a terminal, the
            first two are its master side, and there is no stderr.
    """

    __slots__ = ("pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    user: str = "",
    directory: str = "",
    terminal: tuple[int, int] | None = None,
    group: int = -1,
) -> ChildProcess:
    """Start a program; return once it has been executed.

    Args:
        argv: the program, looked up in PATH if it has no slash, and its arguments; empty for the login shell.
        environment: added to that of the user.
        directory: the working directory; empty for the user's home.
        terminal: rows and columns of a pseudo-terminal; None for three pipes.
        group: `procs` of its control group; -1 for that of the agent.

    Raises:
        OSError: as execve(2) or chdir(2); ENOENT if there is no such user; EPERM if the agent may not change
            to that user.
    """
    account = Account(user)
    variables = account.environment()
    if terminal is not None:
        variables["TERM"] = _TERM
    variables.update(environment)
    shell = os.path.basename(account.shell)
    arguments = [_encode(word) for word in argv] or [_encode("-" + shell)]
    programs = [_encode(account.shell)] if not argv else _candidates(arguments[0], _encode(variables["PATH"]))
    variables_encoded = {_encode(name): _encode(value) for name, value in variables.items()}
    working_directory = _encode(directory or account.home)
    # A missing home directory is no error, unless it was asked for.
    fallback = b"" if directory else b"/"
    ours, theirs = _make_terminal(terminal) if terminal is not None else _make_pipes()

    def become(report: int) -> None:
        program = _Program(programs, arguments, variables_encoded)
        _become(program, account, working_directory, fallback, theirs, report, group=group)

    try:
        pid = start_child(become)
    except BaseException as error:
        _close(ours)
        if isinstance(error, StepError):
            name = _step_name(error.step, argv, account, directory)
            raise OSError(error.errno, error.strerror, name) from None
        raise
    finally:
        _close(theirs)
    return ChildProcess(pid, ours[0], ours[1], ours[2] if terminal is None else -1)


def spawn_bare(
    path: str,
    arguments: Sequence[str],
    environment: Sequence[str] | None,
    feeds: bool,
    captures: str,
    taken: Container[int],
    directory: str = ".",
    group: int = -1,
) -> ChildProcess:
    """Start a program with exactly this environment; return once it has been executed.

    Args:
        path: looked up in PATH if it has no slash.
        environment: all variables, each NAME=VALUE; None for the agent's own.
        feeds: give it a pipe for stdin.
        captures: which outputs are pipes: "stdout", "stderr", "separated" (both), "merged" (both, into the
            pipe of stdout) or "none". The others are /dev/null.
        taken: process IDs that it must not get.
        directory: the working directory; by default, the agent's.
        group: `procs` of its control group; -1 for that of the agent.

    Raises:
        OSError: as execve(2), with `path` as the file name.
    """
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    variables = _own_environment() if environment is None else _parse_environment(environment)
    search = variables.get(b"PATH")
    if search is None:
        search = os.environb.get(b"PATH", _BARE_PATH)
    name = _encode(path)
    program = _Program(_candidates(name, search), [name, *map(_encode, arguments)], variables, by_shell=True)
    ours, theirs = [-1, -1, -1], [-1, -1, -1]
    wanted = (feeds, captures in ("stdout", "separated", "merged"), captures in ("stderr", "separated"))

    def become(report: int) -> None:
        _become(program, None, _encode(directory), b"/", theirs, report, taken, group)

    try:
        for number, is_pipe in enumerate(wanted):
            if is_pipe:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                ours[number], theirs[number] = (reading, writing) if number else (writing, reading)
                os.set_blocking(ours[number], False)
            elif number == 2 and captures == "merged":
                theirs[2] = theirs[1]
            else:
                theirs[number] = os.open("/dev/null", (os.O_WRONLY if number else os.O_RDONLY) | os.O_CLOEXEC)
        pid = start_child(become)
    except BaseException as error:
        _close([fd for fd in ours if fd >= 0])
        if isinstance(error, StepError):
            raise OSError(error.errno, error.strerror, path) from None
        raise
    finally:
        _close([fd for fd in theirs if fd >= 0])
    return ChildProcess(pid, *ours)


def set_terminal_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size of a pseudo-terminal; the foreground processes get SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


class _Program:
    """Arguments of execve(2). paths: tried in turn. by_shell: run a file without `#!` by the shell, as execvp(3)."""

    __slots__ = ("arguments", "by_shell", "environment", "paths")

    def __init__(
        self,
        paths: Sequence[bytes],
        arguments: list[bytes],
        environment: Mapping[bytes, bytes],
        by_shell: bool = False,
    ) -> None:
        self.paths = paths
        self.arguments = arguments
        self.environment = environment
        self.by_shell = by_shell


def _own_environment() -> dict[bytes, bytes]:
    return {name: value for name, value in os.environb.items() if name not in _OWN_VARIABLES}


def _parse_environment(variables: Sequence[str]) -> dict[bytes, bytes]:
    """Return the variables by name: the last of each, as shells do; those without a name or `=` are dropped."""
    by_name = {}
    for variable in variables:
        name, assigned, value = _encode(variable).partition(b"=")
        if name and assigned:
            by_name[name] = value
    return by_name


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _candidates(program: bytes, path: bytes) -> list[bytes]:
    if b"/" in program:
        return [program]
    return [os.path.join(directory, program) for directory in path.split(b":") if directory]


def _make_pipes() -> tuple[list[int], list[int]]:
    """Return our ends and the child's of pipes for stdin, stdout and stderr."""
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            pipes.append(os.pipe2(os.O_CLOEXEC))
    except OSError:
        for pair in pipes:
            _close(pair)
        raise
    (child_in, our_in), (our_out, child_out), (our_error, child_error) = pipes
    ours = [our_in, our_out, our_error]
    for fd in ours:
        os.set_blocking(fd, False)
    return ours, [child_in, child_out, child_error]


def _make_terminal(size: tuple[int, int]) -> tuple[list[int], list[int]]:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    set_terminal_size(master, *size)
    return [master, master], [slave, slave, slave]


def _close(fds: Sequence[int]) -> None:
    for fd in set(fds):
        os.close(fd)


def _become(
    program: _Program,
    account: Account | None,
    directory: bytes,
    fallback: bytes,
    fds: Sequence[int],
    report: int,
    taken: Container[int] = (),
    group: int = -1,
) -> None:
    """In the child: execute the program, or report why not. Never returns."""
    step = b"number"
    try:
        if os.getpid() in taken:
            raise OSError(errno.EAGAIN, "")
        step = b"start"
        if group >= 0:
            _join(group)
        os.setsid()
        if fds[0] == fds[1]:
            fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        # A child that is stuck in the kernel must not keep the agent's ports and files open.
        close_all_but({0, 1, 2, report})
        _be_killable()
        os.umask(_UMASK)
        step = b"user"
        if account is not None and account.changes:
            # Else the program could not open its own /dev/stderr or its terminal.
            for number in range(3):
                os.fchown(number, account.uid, -1)
            os.setgroups(account.groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        step = b"directory"
        try:
            os.chdir(directory)
        except OSError:
            if not fallback:
                raise
            os.chdir(fallback)
        step = b"program"
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _execute(program)
    except OSError as error:
        os.write(report, b"%s %d" % (step, error.errno or errno.EINVAL))
    except BaseException:
        os.write(report, b"%s %d" % (step, errno.EINVAL))
    finally:
        os._exit(127)


def _join(group: int) -> None:
    try:
        os.write(group, b"0")
    except OSError:
        pass


def _be_killable() -> None:
    # The agent is protected from the OOM killer; the programs that it runs are not.
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"0")
        os.close(fd)
    except OSError:
        pass


def _execute(program: _Program) -> None:
    """Execute the first of the paths that can be executed. Raises OSError."""
    problem = OSError(errno.ENOENT, "")
    for path in program.paths:
        try:
            try:
                os.execve(path, program.arguments, program.environment)
            except OSError as error:
                if error.errno != errno.ENOEXEC or not program.by_shell:
                    raise
                os.execve(_SHELL, [_SHELL, path, *program.arguments[1:]], program.environment)
        except OSError as error:
            if problem.errno in _FIRST_ERROR_WINS:
                problem = error
    raise problem


def _step_name(step: str, argv: Sequence[str], account: Account, directory: str) -> str:
    if step == "user":
        return f"becoming the user {account.name}"
    if step == "directory":
        return directory or account.home
    return argv[0] if argv else account.shell
