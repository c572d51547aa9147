"""What works in this guest, and what does not, each in plain words."""

from __future__ import annotations

import os
import stat
import sys

from phoenix_ga.agent.linux.waiter import check_waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Final

    Result = tuple[str, str]

OK: Final = "ok"
# Something is missing that not every guest needs.
WARNING: Final = "warning"
FAILED: Final = "failed"

# Reasons for which a filesystem on a disk is not frozen, in words.
_UNSUPPORTED: Final = "unsupported"
_NAMES: Final = ("phoenix-ga", "qemu-ga")


class Subject:
    """What is tested: options of the agent, and its restrictions.

    Attributes:
        optional_hooks: a directory in `hooks` that may be missing.
        restrictions: what missing rights and a sandbox take away.
    """

    def __init__(
        self, ports: Sequence[str], hooks: Sequence[str], optional_hooks: str, restrictions: Sequence[str] = ()
    ) -> None:
        self.ports = ports
        self.hooks = hooks
        self.optional_hooks = optional_hooks
        self.restrictions = restrictions
        self.run_directory = "/run"
        self.log_file = ""
        self.park_after = 0


def find_agent() -> str:
    """Return the directory in /proc of the running agent, or else of this process."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and _is_agent(name):
            return f"/proc/{name}"
    return "/proc/self"


def self_test(subject: Subject) -> list[dict[str, str]]:
    """Return an object for each check: its `name`, its `state` (OK, WARNING or FAILED), and a `text`."""
    results = []
    for check in _CHECKS:
        try:
            results += [{"name": name, "state": state, "text": text} for name, (state, text) in check(subject)]
        except Exception as error:
            # One check that cannot be done must not hide the others.
            name = check.__name__.strip("_").replace("_", " ")
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            results.append({"name": name, "state": FAILED, "text": f"cannot be checked: {text}"})
    return results


def _python(subject: Subject) -> Iterator[tuple[str, Result]]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield "python", (OK, f"{sys.executable} {version}, Linux {os.uname().release} {os.uname().machine}")


def _ports(subject: Subject) -> Iterator[tuple[str, Result]]:
    results = {port: _port(port) for port in subject.ports}
    # Usually a guest has one of the two ports that are served by default.
    if all(state != OK for state, _ in results.values()):
        results = {port: (FAILED, text) for port, (_, text) in results.items()}
    for port, result in results.items():
        yield f"port {port}", result


def _port(port: str) -> Result:
    kind, colon, address = port.partition(":")
    if colon and kind == "vsock":
        exists = os.path.exists("/dev/vsock")
        return (OK, "the guest has vsock") if exists else (WARNING, "the guest has no vsock device: add one to it")
    if colon and kind == "fd":
        return OK, "passed by the service manager"
    path = address if colon and kind in ("unix", "tty") else port
    try:
        mode = os.stat(path)
    except FileNotFoundError:
        missing = "nobody listens there: is the service running?" if kind == "unix" else "the guest has no such port"
        return WARNING, missing
    if stat.S_ISSOCK(mode.st_mode):
        return OK, "a socket is there"
    if not stat.S_ISCHR(mode.st_mode):
        return WARNING, "it is not a device: to listen on a Unix socket, write unix:PATH"
    holders = holders_of(mode.st_rdev)
    if not holders:
        return WARNING, "no program has opened it: is the service running?"
    names = " and ".join(f"{_read(f'/proc/{pid}/comm').strip()} (process {pid})" for pid in holders)
    return (OK if all(map(_is_agent, holders)) else WARNING), f"opened by {names}"


def _is_agent(pid: str) -> bool:
    """Return whether a process is this agent, parked or not."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    name = _read(f"/proc/{pid}/comm").strip()
    return name in _NAMES and ("phoenix-wait" in program or "python" in os.path.basename(program))


def holders_of(device: int) -> list[str]:
    """Return the process ID of each process that has a device open."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in descriptors:
            try:
                status = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == device:
                found.append(pid)
                break
    return found


def _rights(subject: Subject) -> Iterator[tuple[str, Result]]:
    for text in subject.restrictions:
        yield "rights", (WARNING, text)
    if not subject.restrictions:
        yield "rights", (OK, "nothing is restricted")


def _parking(subject: Subject) -> Iterator[tuple[str, Result]]:
    if subject.park_after == 0:
        yield "parking", (OK, "not wanted: park-after is 0, or auto-online is set")
        return
    try:
        yield "parking", (OK, f"after {subject.park_after} seconds, by {check_waiter()}")
    except OSError as error:
        yield "parking", (WARNING, f"the agent stays awake when idle: {error.strerror}")


def _freeze(subject: Subject) -> Iterator[tuple[str, Result]]:
    from phoenix_ga.agent.linux.freeze import FreezeBackend
    from phoenix_ga.agent.operations.freeze.plan import freeze_plan
    from phoenix_ga.agent.operations.freeze.targets import Selection

    plan = freeze_plan(FreezeBackend(), Selection(None, strict=True))
    device = _device(subject.run_directory) or _device(os.path.dirname(subject.run_directory))
    for each in plan["filesystems"]:
        point = each["mountpoint"]
        name = f"freeze {point}"
        if not each["process"] and _device(point) == device:
            yield name, (FAILED, f"{subject.run_directory} is on it: set run-directory to a directory on a tmpfs")
        else:
            yield name, (OK, f"{each['type']} can be frozen")
    for each in plan["skipped"]:
        name = f"freeze {each['mountpoint']}"
        if each["reason"] == _UNSUPPORTED:
            yield name, (WARNING, f"{each['type']} cannot be frozen: a snapshot of it may be inconsistent")
        else:
            yield name, (OK, f"{each['type']} is not frozen: {each['reason']}")


def _device(path: str) -> int:
    """Return the device that a file is on; 0 if there is none."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return 0


def _hooks(subject: Subject) -> Iterator[tuple[str, Result]]:
    from phoenix_ga.agent.operations.freeze.hooks import HookError, Hooks

    hooks = Hooks(lambda text: None, lambda pending: None)
    hooks.paths = tuple(subject.hooks)
    hooks.optional = subject.optional_hooks
    try:
        programs = hooks.programs()
    except HookError as error:
        yield "hooks", (FAILED, f"a freeze will fail: {error}")
        return
    yield "hooks", (OK, ", ".join(programs) or "none")


def _users(subject: Subject) -> Iterator[tuple[str, Result]]:
    import pwd

    try:
        root = pwd.getpwuid(0)
    except KeyError:
        yield "users", (FAILED, "the user database has no root: passwords, keys and programs of users do not work")
        return
    if not os.access(root.pw_shell, os.X_OK):
        yield "users", (WARNING, f"the shell of {root.pw_name}, {root.pw_shell}, cannot be executed")
        return
    yield "users", (OK, f"accounts can be looked up; the shell of {root.pw_name} is {root.pw_shell}")


def _clock(subject: Subject) -> Iterator[tuple[str, Result]]:
    if any(os.access(path, os.R_OK) for path in ("/dev/rtc", "/dev/rtc0")):
        yield "clock", (OK, "there is a hardware clock")
    else:
        yield "clock", (WARNING, "no hardware clock: the time is set in the system only, until the next boot")


def _selinux(subject: Subject) -> Iterator[tuple[str, Result]]:
    enforcing = _read("/sys/fs/selinux/enforce").strip()
    if not enforcing:
        yield "selinux", (OK, "not in use")
        return
    domain = _read("/proc/self/attr/current").rstrip("\0\n")
    if enforcing == "1" and "unconfined" not in domain and "initrc_t" not in domain:
        yield "selinux", (WARNING, f"enforcing, and the agent is confined to {domain}: see the audit log for denials")
    else:
        yield "selinux", (OK, f"{'enforcing' if enforcing == '1' else 'permissive'}; the agent runs as {domain}")


def _log(subject: Subject) -> Iterator[tuple[str, Result]]:
    path = subject.log_file
    if not path:
        yield "log", (OK, "standard error, which is the journal under systemd")
    elif os.access(path if os.path.exists(path) else os.path.dirname(path), os.W_OK):
        yield "log", (OK, path)
    else:
        yield "log", (FAILED, f"{path} cannot be written")


def _read(path: str) -> str:
    """Return the content of a small file; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


_CHECKS: Final[tuple[Callable[[Subject], Iterator[tuple[str, Result]]], ...]] = (
    _python,
    _ports,
    _rights,
    _parking,
    _freeze,
    _hooks,
    _users,
    _clock,
    _selinux,
    _log,
)
