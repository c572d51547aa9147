"""Control groups that keep the programs apart from the agent, see cgroups(7).

systemd leaves the group of the agent's unit to the agent (`Delegate=`). In it, the agent makes:

    agent           for itself
    programs        with a limit of memory and tasks for all programs
    programs/kept   programs that go on without a client, and processes that other programs left running
    programs/PID-N  a program that ends with its client, or with the agent

Without such a group, programs run in that of the agent.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from errno import EBUSY

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Final

    from phoenix_ga.agent.context import Context
else:
    # The module `signal` would load `enum`.
    import _signal as signal

# Where version 2 is mounted; the second if version 1 is used beside it.
_ROOTS: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
# systemd sets one or both, depending on its version.
_DELEGATED: Final = ("trusted.delegate", "user.delegate")
_CONTROLLERS: Final = ("cpu", "memory", "pids")
_AGENT: Final = "agent"
# systemd runs ExecStopPost= of a delegated unit here.
_CONTROL: Final = ".control"
_KEPT: Final = "kept"
# What the programs leave to the agent and the rest of the system: bytes and tasks, or a part if there are few.
_MEMORY_RESERVE: Final = 256 * 1024 * 1024
_MEMORY_PART: Final = 4
_TASK_RESERVE: Final = 1024
_TASK_PART: Final = 2
# The agent's share of the processors, beside 100 of all programs.
_AGENT_WEIGHT: Final = "1000"
# Processes may be forked while they are moved or killed.
_ATTEMPTS: Final = 100
# Seconds between SIGTERM and SIGKILL to programs whose agent is gone.
_GRACE: Final = 5.0
_POLL_INTERVAL: Final = 0.05


class ProgramGroup:
    """The group of a program that is about to start; a context manager, to be left once it has.

    Attributes:
        procs: the file to which the program's process writes 0 in order to join; -1 for none.
    """

    def __init__(self, path: str, kept: str) -> None:
        self._path = path
        self._kept = kept
        self.procs = -1
        if path:
            try:
                os.makedirs(path, 0o755, exist_ok=True)
                self.procs = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            except OSError:
                self._path = ""

    def __enter__(self) -> ProgramGroup:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self.procs >= 0:
            os.close(self.procs)
            self.procs = -1
        if error is not None and self.exists:
            self.end()

    @property
    def exists(self) -> bool:
        """Whether the group is to be removed when its program has ended."""
        return self._path not in ("", self._kept)

    def end(self) -> None:
        """Remove the group. Processes that the program left running are kept. May block."""
        for _ in range(_ATTEMPTS):
            try:
                os.rmdir(self._path)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != EBUSY:
                    return
            _move_all(self._path, self._kept)


class ProgramGroups:
    """Makes the groups of programs.

    Args:
        unit: the path of the agent's own group, if it may make groups in it; empty if not.
    """

    def __init__(self, unit: str) -> None:
        self._programs = ""
        self._last = 0
        self._limits = (0, 0)
        self._lock = allocate_lock()
        if unit:
            try:
                _divide(unit)
            except OSError:
                return
            self._programs = f"{unit}/programs"

    def open(self, kept: bool) -> ProgramGroup:
        """Return the group for a new program.

        Args:
            kept: the program goes on without a client and without the agent.
        """
        if not self._programs:
            return ProgramGroup("", "")
        with self._lock:
            self._last += 1
            name = f"{os.getpid()}-{self._last}"
            self._limit()
        kept_path = f"{self._programs}/{_KEPT}"
        return ProgramGroup(kept_path if kept else f"{self._programs}/{name}", kept_path)

    def _limit(self) -> None:
        """Limit the programs to most of the memory and tasks, which may have changed since the last time."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        tasks = min(int(_read(f"/proc/sys/kernel/{name}")) for name in ("pid_max", "threads-max"))
        if (memory, tasks) == self._limits:
            return
        self._limits = (memory, tasks)
        for name, limit in (
            ("memory.max", memory - min(memory // _MEMORY_PART, _MEMORY_RESERVE)),
            ("pids.max", tasks - min(tasks // _TASK_PART, _TASK_RESERVE)),
        ):
            try:
                _write(f"{self._programs}/{name}", str(limit))
            except OSError:
                # The kernel has no such controller.
                continue


def program_groups(context: Context) -> ProgramGroups:
    """Return the groups of this agent's programs."""
    return context.part(_make)


def find_unit_group() -> str:
    """Return the path of the control group of the agent's unit; empty if systemd has not delegated it."""
    for root in _ROOTS:
        for line in _read("/proc/self/cgroup").splitlines():
            if line.startswith("0::/") and os.path.exists(f"{root}/cgroup.procs"):
                path = (root + line[3:]).rstrip("/")
                if os.path.basename(path) in (_AGENT, _CONTROL):
                    path = os.path.dirname(path)
                return path if _is_delegated(path) else ""
    return ""


def clean_up(unit: str) -> None:
    """End the programs of a dead agent that were to end with it, and let the unit start again.

    Args:
        unit: the path of the unit's group; empty if there is none.
    """
    if not unit:
        return
    programs = f"{unit}/programs"
    groups = [f"{programs}/{name}" for name in _subgroups(programs) if name != _KEPT]
    for group in groups:
        _signal_all(group, signal.SIGTERM)
    end = time.monotonic() + _GRACE
    while any(_pids(group) for group in groups) and time.monotonic() < end:
        time.sleep(_POLL_INTERVAL)
    for group in groups:
        _kill_all(group)
    # A group with controllers in its children takes no process, so systemd could not start the agent.
    for name in _CONTROLLERS:
        try:
            _write(f"{unit}/cgroup.subtree_control", f"-{name}")
        except OSError:
            continue


def _make(context: Context) -> ProgramGroups:
    return ProgramGroups(find_unit_group())


def _divide(unit: str) -> None:
    """Make the groups in the unit's group, move the agent to its own, and set the controllers up."""
    for name in (_AGENT, "programs", f"programs/{_KEPT}"):
        os.makedirs(f"{unit}/{name}", 0o755, exist_ok=True)
    available = _read(f"{unit}/cgroup.controllers").split()
    wanted = [name for name in _CONTROLLERS if name in available]
    for _ in range(_ATTEMPTS):
        _move_all(unit, f"{unit}/{_AGENT}")
        try:
            for name in wanted:
                _write(f"{unit}/cgroup.subtree_control", f"+{name}")
            break
        except OSError as error:
            # A process was forked meanwhile.
            if error.errno != EBUSY:
                raise
    if "cpu" in wanted:
        _write(f"{unit}/{_AGENT}/cpu.weight", _AGENT_WEIGHT)


def _is_delegated(path: str) -> bool:
    for name in _DELEGATED:
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _subgroups(path: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _pids(group: str) -> list[int]:
    try:
        return [int(word) for word in _read(f"{group}/cgroup.procs").split()]
    except OSError:
        return []


def _move_all(source: str, target: str) -> None:
    for pid in _pids(source):
        try:
            _write(f"{target}/cgroup.procs", str(pid))
        except OSError:
            # It has ended.
            continue


def _signal_all(group: str, number: int) -> None:
    for pid in _pids(group):
        try:
            os.kill(pid, number)
        except OSError:
            continue


def _kill_all(group: str) -> None:
    """Kill all processes of a group, and remove it."""
    try:
        _write(f"{group}/cgroup.kill", "1")
    except OSError:
        # Linux before 5.14: processes may be forked meanwhile.
        for _ in range(_ATTEMPTS):
            _signal_all(group, signal.SIGKILL)
    end = time.monotonic() + _GRACE
    while time.monotonic() < end:
        try:
            os.rmdir(group)
            return
        except OSError:
            time.sleep(_POLL_INTERVAL)


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
