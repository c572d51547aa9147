"""What runs before a freeze and after the thaw, the deadline, and the watchdog: on filesystems on loop devices."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.freeze import hooks as freeze_hooks
from phoenix_ga.agent.operations.freeze import watchdog as freeze_watchdog
from phoenix_ga.agent.operations.freeze.freezer import Freezer
from phoenix_ga.agent.operations.freeze.hooks import HookError
from tests.agent.loop_devices import (
    Bench,
    OnlyBelow,
    hung_fuse,
    is_frozen,
    needs_root,
    take_request,
    wait_until,
)
from tests.process_tree import children
from tests.support import wait_for

pytestmark = [pytest.mark.root, needs_root]


@pytest.fixture
def point(bench: Bench, tmp_path: Path) -> Path:
    """Where the one filesystem is that can be frozen."""
    return bench.make(tmp_path / "image", "filesystem")


@pytest.fixture
def hooks(tmp_path: Path, real_freezer: Freezer) -> Path:
    """The directory of hooks."""
    directory = tmp_path / "hooks"
    directory.mkdir()
    real_freezer.hooks.paths = (str(directory),)
    return directory


def write_hook(directory: Path, name: str, script: str = "", mode: int = 0o755) -> Path:
    """Write a hook that leaves a line in `told`, beside its directory, and then runs a script."""
    hook = directory / name
    hook.write_text(f'#!/bin/sh\necho "{name} $1" >> {directory.parent}/told\n{script}\n')
    hook.chmod(mode)
    return hook


def running(group: int) -> list[str]:
    """Return the processes of a process group, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(stat.parent.name)
    return found


def told(hooks: Path) -> list[str]:
    path = hooks.parent / "told"
    return path.read_text().splitlines() if path.exists() else []


def test_hooks_run_in_order_and_back_around_the_freeze(
    bench: Bench, real_freezer: Freezer, point: Path, hooks: Path, log: list[str], tmp_path: Path
) -> None:
    state = f"dd if=/dev/zero of={point}/$0.$1 count=1 2> /dev/null; echo wrote"
    for name in ("20-second", "10-first"):
        write_hook(hooks, name, state.replace("$0", name))
    for number in range(2):
        assert real_freezer.freeze() == [str(point)]
        assert told(hooks)[4 * number :] == ["10-first freeze", "20-second freeze"]
        assert bench.write(point).is_blocked()
        assert real_freezer.thaw() == 1
        assert told(hooks)[4 * number + 2 :] == ["20-second thaw", "10-first thaw"]
    assert {path.name for path in point.iterdir()} >= {"10-first.freeze", "10-first.thaw", "20-second.thaw"}
    assert f"{hooks}/10-first: wrote" in log
    assert not (tmp_path / "run/hooks").exists()
    assert [pid for pid in children() if "phoenix-guard" in Path(f"/proc/{pid}/comm").read_text()] == []


def test_only_programs_are_hooks(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "README", mode=0o644)
    for name in (".hidden", "old~", "x.rpmsave", "y.dpkg-old", "z.bak"):
        write_hook(hooks, name)
    (hooks / "directory").mkdir()
    write_hook(hooks, "real.sh")
    (hooks / "linked").symlink_to(hooks / "real.sh")
    assert real_freezer.hooks.programs() == [f"{hooks}/linked", f"{hooks}/real.sh"]


def test_a_directory_that_is_not_there_is_only_an_error_where_somebody_named_it(real_freezer: Freezer) -> None:
    real_freezer.hooks.paths = ("/nowhere",)
    real_freezer.hooks.optional = "/nowhere"
    assert real_freezer.hooks.programs() == []
    real_freezer.hooks.optional = ""
    with pytest.raises(HookError, match="can't access fsfreeze hook '/nowhere': No such file or directory"):
        real_freezer.freeze()


def test_a_hook_that_cannot_be_executed_keeps_from_freezing(
    real_freezer: Freezer, real: OnlyBelow, point: Path, hooks: Path
) -> None:
    real_freezer.hooks.paths = (str(write_hook(hooks, "hook", mode=0o644)),)
    with pytest.raises(HookError, match=r"can't access fsfreeze hook '.*/hook': Permission denied"):
        real_freezer.freeze()
    broken = hooks / "broken"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)
    real_freezer.hooks.paths = (str(broken),)
    with pytest.raises(HookError, match=r"can't access fsfreeze hook '.*/broken': No such file or directory"):
        real_freezer.freeze()
    assert real.calls == []
    assert not real_freezer.has_work_left


@pytest.mark.parametrize("what", ["hook", "directory", "owner", "group"])
def test_what_others_than_root_may_change_is_not_run(
    real_freezer: Freezer, real: OnlyBelow, point: Path, hooks: Path, what: str
) -> None:
    hook = write_hook(hooks, "hook")
    if what == "owner":
        os.chown(hook, 12345, 0)
    elif what == "group":
        os.chown(hook, 0, 12345)
        hook.chmod(0o775)
    else:
        (hook if what == "hook" else hooks).chmod(0o777)
    with pytest.raises(HookError, match="is not run: others than root can change it"):
        real_freezer.freeze()
    assert told(hooks) == []
    assert real.calls == []


def test_a_hook_that_fails_keeps_from_freezing_and_those_that_ran_are_undone(
    real_freezer: Freezer, real: OnlyBelow, point: Path, hooks: Path
) -> None:
    write_hook(hooks, "1")
    write_hook(hooks, "2", '[ "$1" = thaw ] || exit 3')
    write_hook(hooks, "3")
    with pytest.raises(HookError, match=r"^.Errno 10. fsfreeze hook has failed with status 3: '.*/2'$"):
        real_freezer.freeze()
    assert told(hooks) == ["1 freeze", "2 freeze", "2 thaw", "1 thaw"]
    assert real.calls == []
    assert not is_frozen(real_freezer)


def test_a_hook_that_is_killed_has_failed(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "hook", "kill -SEGV $$")
    with pytest.raises(HookError, match="fsfreeze hook has terminated abnormally"):
        real_freezer.freeze()


def test_a_freeze_that_fails_is_undone_by_the_hooks(
    real_freezer: Freezer, real: OnlyBelow, point: Path, hooks: Path
) -> None:
    write_hook(hooks, "hook")
    real.fail_at = 1
    with pytest.raises(OSError, match=r"cannot freeze .*; what was frozen has been thawed"):
        real_freezer.freeze()
    assert told(hooks) == ["hook freeze", "hook thaw"]


def test_hooks_do_not_run_for_nothing(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "hook")
    assert real_freezer.thaw() == 0
    assert real_freezer.freeze([]) == []
    assert real_freezer.freeze(["/nowhere"]) == []
    assert told(hooks) == []
    assert real_freezer.freeze([str(point)]) == [str(point)]
    assert real_freezer.thaw() == 1
    assert real_freezer.thaw() == 0
    assert told(hooks) == ["hook freeze", "hook thaw"]


@pytest.mark.parametrize("script", ["sleep 60", "trap '' TERM; sleep 60 & wait; sleep 60", "exec >&- 2>&-; sleep 60"])
def test_a_hook_that_hangs_is_ended_with_what_it_started(
    real_freezer: Freezer, point: Path, hooks: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(freeze_hooks, "_GRACE", 0.3)
    real_freezer.hooks.time_limit = 0.5
    write_hook(hooks, "hook", f'[ "$1" = thaw ] || {{ echo $$ > {hooks}/pid; {script}; }}')
    with pytest.raises(HookError, match=r"fsfreeze hook took more than 0.5 seconds, and was terminated") as caught:
        real_freezer.freeze()
    assert caught.value.errno == errno.ETIMEDOUT
    group = int((hooks / "pid").read_text())
    assert not running(group)
    assert told(hooks) == ["hook freeze", "hook thaw"]


def test_a_hook_that_says_much_fills_no_log(real_freezer: Freezer, point: Path, hooks: Path, log: list[str]) -> None:
    write_hook(
        hooks, "hook", "echo first; head -c 3000000 /dev/zero | tr '\\0' '\\n'; yes | head -n 500000; echo last"
    )
    assert real_freezer.freeze() == [str(point)]
    real_freezer.thaw()
    assert f"{hooks}/hook: first" in log
    assert len(log) < 250
    assert max(map(len, log)) < 700
    assert any("more bytes, not shown" in line for line in log)


def test_a_hook_may_leave_a_daemon_behind(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "hook", f"sleep 4321 & echo $! > {hooks}/daemon; exit 0")
    try:
        assert real_freezer.freeze() == [str(point)]
        real_freezer.thaw()
    finally:
        os.kill(int((hooks / "daemon").read_text()), signal.SIGKILL)


def test_hooks_have_an_environment_of_their_own(
    real_freezer: Freezer, point: Path, hooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    write_hook(hooks, "hook", f"exec > {hooks}/seen; env; pwd; umask; ls -l /proc/$$/fd")
    real_freezer.freeze()
    real_freezer.thaw()
    seen = (hooks / "seen").read_text().splitlines()
    assert "SECRET=x" not in seen
    assert "HOME=/root" in seen
    assert seen[seen.index("/") + 1] == "0022"
    assert not any(line.endswith((str(point), "/run")) for line in seen)


def test_a_thaw_hook_that_fails_is_told_and_all_is_thawed(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "1", '[ "$1" = freeze ]')
    write_hook(hooks, "2", '[ "$1" = freeze ] || exit 7')
    real_freezer.freeze()
    with pytest.raises(HookError, match="fsfreeze hook has failed with status 7"):
        real_freezer.thaw()
    assert not is_frozen(real_freezer)
    assert told(hooks)[2:] == ["2 thaw", "1 thaw"]
    assert real_freezer.thaw() == 0


def test_a_thaw_ends_a_hook_that_a_freeze_waits_for(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "hook", '[ "$1" = thaw ] || sleep 60')
    errors: list[int | None] = []

    def freeze() -> None:
        try:
            real_freezer.freeze()
        except OSError as error:
            errors.append(error.errno)

    worker = threading.Thread(target=freeze)
    worker.start()
    wait_until(lambda: told(hooks) == ["hook freeze"])
    assert not is_frozen(real_freezer)
    assert real_freezer.has_work_left
    assert real_freezer.thaw() == 0
    worker.join()
    assert errors == [errno.ECANCELED]
    assert told(hooks) == ["hook freeze", "hook thaw"]


def test_a_hook_whose_freeze_is_called_off_is_ended(real_freezer: Freezer, point: Path, hooks: Path) -> None:
    write_hook(hooks, "slow", '[ "$1" = thaw ] || exec sleep 600')
    with pytest.raises(OSError, match="called off") as caught:
        real_freezer.freeze(revoked=lambda: bool(told(hooks)))
    assert caught.value.errno == errno.ECANCELED
    assert told(hooks) == ["slow freeze", "slow thaw"]
    assert not is_frozen(real_freezer)


def test_the_deadline_thaws_and_runs_the_hooks(
    bench: Bench, real_freezer: Freezer, point: Path, hooks: Path, log: list[str]
) -> None:
    write_hook(hooks, "hook")
    assert real_freezer.freeze(time_limit=1) == [str(point)]
    remaining = real_freezer.remaining
    assert remaining is not None
    assert remaining <= 1
    writer = bench.write(point)
    assert writer.is_blocked()
    assert writer.ended()
    wait_until(lambda: told(hooks) == ["hook freeze", "hook thaw"])
    wait_until(lambda: any("nobody thawed for 1 seconds: the deadline thawed 1" in line for line in log))
    assert not is_frozen(real_freezer)
    assert real_freezer.record.ended == "deadline"
    assert real_freezer.remaining is None
    assert real_freezer.thaw() == 0
    assert real_freezer.record.ended == "deadline"


def test_the_deadline_of_one_freeze_does_not_end_the_next(bench: Bench, real_freezer: Freezer, point: Path) -> None:
    real_freezer.freeze(time_limit=0.5)
    real_freezer.thaw()
    real_freezer.freeze(time_limit=0)
    assert real_freezer.remaining is None
    time.sleep(1)
    assert is_frozen(real_freezer)
    assert real_freezer.thaw() == 1
    assert real_freezer.record.ended == "thawed"


AGENT = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.agent.loop_devices import OnlyBelow
from tests.process_tree import children
from phoenix_ga.agent.operations.freeze import watchdog as freeze_watchdog
from phoenix_ga.agent.operations.freeze.freezer import Freezer
freeze_watchdog.PATIENCE = 0.5
directory = Path(sys.argv[2])
freezer = Freezer(print, str(directory / "run"), OnlyBelow(directory), marker=str(directory / "marker"))
freezer.hooks.paths = (str(directory / "hooks"),)
freezer.freeze(time_limit=float(sys.argv[3]))
print(*children(), flush=True)
if len(sys.argv) > 4:
    import threading
    threading.Thread(target=os.listdir, args=(sys.argv[4],)).start()
time.sleep(60)
"""


def frozen_agent(directory: Path, time_limit: float = 0, *listed: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process that freezes all below a directory, and stays; return it and its watchdog.

    listed: a directory that a thread of the process lists.
    """
    top = Path(__file__).parents[2]
    command = [sys.executable, "-c", AGENT, str(top), str(directory), str(time_limit), *listed]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=top)
    assert agent.stdout is not None
    watchdog = next(line for line in agent.stdout if line.strip().isdecimal())
    return agent, int(watchdog)


def end(agent: subprocess.Popen[str], watchdog: int = 0) -> None:
    """Kill the agent; wait until its watchdog, which holds the mount points open, has ended."""
    agent.kill()
    agent.wait()
    assert agent.stdout is not None
    agent.stdout.close()
    if watchdog:
        wait_until(lambda: not Path(f"/proc/{watchdog}").exists())


def test_the_watchdog_of_a_killed_agent_thaws_and_runs_the_hooks_once(
    bench: Bench, real_freezer: Freezer, point: Path, hooks: Path, log: list[str], tmp_path: Path
) -> None:
    write_hook(hooks, "1")
    write_hook(hooks, "2", "sleep 1")
    agent, watchdog = frozen_agent(tmp_path)
    writer = bench.write(point)
    assert writer.is_blocked()
    assert (tmp_path / "marker").exists()
    # What systemd sends to all that is left.
    os.kill(watchdog, signal.SIGTERM)
    assert writer.is_blocked()
    end(agent)
    assert writer.ended()
    assert real_freezer.recover() == 0
    wait_until(lambda: told(hooks) == ["1 freeze", "2 freeze", "2 thaw", "1 thaw"])
    wait_until(lambda: not Path(f"/proc/{watchdog}").exists())
    assert not (tmp_path / "marker").exists()
    assert real_freezer.record.ended == "died"
    # The next agent has nothing to do, and can freeze again.
    assert list((tmp_path / "run").iterdir()) == []
    real_freezer.hooks.paths = ()
    assert real_freezer.freeze() == [str(point)]
    assert real_freezer.thaw() == 1
    assert len(told(hooks)) == 4


def test_the_next_agent_runs_the_hooks_where_the_watchdog_was_killed_too(
    bench: Bench, real_freezer: Freezer, point: Path, hooks: Path, tmp_path: Path
) -> None:
    write_hook(hooks, "1")
    write_hook(hooks, "2")
    agent, watchdog = frozen_agent(tmp_path)
    os.kill(watchdog, signal.SIGKILL)
    end(agent)
    assert bench.write(point).is_blocked()
    assert real_freezer.recover() == 1
    wait_until(lambda: told(hooks) == ["1 freeze", "2 freeze", "2 thaw", "1 thaw"])
    wait_until(lambda: list((tmp_path / "run").iterdir()) == [])


def test_the_watchdog_thaws_where_the_agent_does_not_at_the_deadline(
    bench: Bench, point: Path, hooks: Path, tmp_path: Path
) -> None:
    agent, watchdog = frozen_agent(tmp_path, 0.5)
    agent.send_signal(signal.SIGSTOP)
    assert bench.write(point).ended()
    agent.send_signal(signal.SIGCONT)
    end(agent, watchdog)


class Slow(OnlyBelow):
    """The real kernel, of a process that gets no time to thaw until its watchdog has thawed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.process = os.getpid()
        self.late = threading.Event()

    def thaw(self, descriptor: int) -> None:
        if os.getpid() == self.process:
            assert self.late.wait(60)
        super().thaw(descriptor)


def test_a_deadline_that_comes_after_the_watchdog_is_not_another_program(
    bench: Bench, log: list[str], point: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze_watchdog, "PATIENCE", 0.5)
    slow = Slow(tmp_path)
    freezer = Freezer(log.append, str(tmp_path / "run"), slow)
    freezer.freeze(time_limit=0.2)
    assert bench.write(point).ended()
    assert is_frozen(freezer)
    slow.late.set()
    wait_for(lambda: not is_frozen(freezer) and bool(log))
    assert freezer.record.ended == "deadline"
    assert log[0] == f"the agent was late: its watchdog thawed {point}"


def test_a_release_that_comes_after_the_watchdog_tells_of_the_deadline(
    bench: Bench, real_freezer: Freezer, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze_watchdog, "PATIENCE", 0.5)
    # Its thread gets no time.
    monkeypatch.setattr(Freezer, "_start_deadline", lambda freezer, time_limit: None)
    generation = real_freezer.freeze_recorded(time_limit=0.2).generation
    assert bench.write(point).ended()
    with pytest.raises(OSError, match="the freeze did not hold: its time limit was reached"):
        real_freezer.thaw(generation)
    assert real_freezer.record.ended == "deadline"
    assert real_freezer.thaw(real_freezer.freeze_recorded().generation) == 1


def test_the_watchdog_thaws_if_a_killed_agent_is_stuck_in_the_kernel(
    bench: Bench, point: Path, hooks: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    directory = tmp_path_factory.mktemp("fuse")
    with hung_fuse(directory) as server:
        agent, watchdog = frozen_agent(tmp_path, 0, str(directory))
        take_request(server)
        agent.kill()
        assert bench.write(point).ended()
        wait_until(lambda: (tmp_path / "run/thawed").exists())
        assert agent.poll() is None, "the agent was not stuck"
    end(agent, watchdog)


class FakeAgent:
    """A process that starts a watchdog, reports, and stays."""

    def __init__(self, directory: Path, descriptors: int, reports: str) -> None:
        self.directory = directory
        done, ready = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors)]
            watchdog = freeze_watchdog.Watchdog(self.descriptors, self._thaw, (), self._finish)
            for report in reports:
                watchdog.note(report == "f")
            os.write(ready, b"%d" % children()[0])
            time.sleep(60)
            os._exit(0)
        self.watchdog = int(os.read(done, 99))
        os.close(done)
        os.close(ready)

    def _thaw(self, descriptor: int) -> None:
        number = self.descriptors.index(descriptor)
        (self.directory / f"begun{number}").touch()
        while (self.directory / f"hang{number}").exists():
            time.sleep(0.01)
        (self.directory / f"thawed{number}").touch()

    def _finish(self, thawed: int | None) -> None:
        (self.directory / "finished.new").write_text(str(thawed))
        (self.directory / "finished.new").rename(self.directory / "finished")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("hanging", [0, 1, 2])
def test_a_thaw_that_hangs_does_not_delay_the_others_for_ever(tmp_path: Path, hanging: int) -> None:
    (tmp_path / f"hang{hanging}").touch()
    agent = FakeAgent(tmp_path, 4, "ff")
    agent.kill()
    wait_until(lambda: (tmp_path / "finished").exists())
    assert (tmp_path / "finished").read_text() == "2"
    assert {path.name for path in tmp_path.glob("begun*")} == {"begun0", "begun1", "begun2"}
    assert not (tmp_path / f"thawed{hanging}").exists()
    # When the kernel returns, it is thawed after all.
    (tmp_path / f"hang{hanging}").unlink()
    wait_until(lambda: (tmp_path / f"thawed{hanging}").exists())


def test_a_watchdog_that_cannot_set_its_name_still_thaws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze_watchdog, "_COMM", str(tmp_path / "none" / "comm"))
    agent = FakeAgent(tmp_path, 2, "ff")
    agent.kill()
    wait_until(lambda: (tmp_path / "finished").exists())
    assert (tmp_path / "finished").read_text() == "2"


def test_another_agent_does_not_freeze_meanwhile(
    bench: Bench, real_freezer: Freezer, point: Path, hooks: Path, tmp_path: Path
) -> None:
    agent, watchdog = frozen_agent(tmp_path)
    with pytest.raises(OSError, match="another agent with the same run directory has frozen, or is thawing"):
        real_freezer.freeze()
    assert bench.write(point).is_blocked()
    end(agent, watchdog)


def test_a_watchdog_has_nothing_but_what_it_needs(point: Path, hooks: Path, tmp_path: Path) -> None:
    agent, watchdog = frozen_agent(tmp_path)
    try:
        links = {os.readlink(link) for link in Path(f"/proc/{watchdog}/fd").iterdir() if int(link.name) > 2}
        assert {link for link in links if not link.startswith("pipe:")} == {str(point), str(tmp_path / "run")}
        wait_for(lambda: Path(f"/proc/{watchdog}/comm").read_text() == "phoenix-guard\n")
        assert os.getsid(watchdog) == watchdog
    finally:
        end(agent, watchdog)


def test_what_an_agent_of_another_make_left_frozen_waits_for_a_thaw(
    bench: Bench, real: OnlyBelow, point: Path, log: list[str], tmp_path: Path
) -> None:
    other = bench.make(tmp_path / "image2", "other")
    marker = tmp_path / "marker"
    marker.touch()
    freezer = Freezer(log.append, str(tmp_path / "run"), real, marker=str(marker))
    subprocess.run(["fsfreeze", "--freeze", point], check=True)
    freezer.recover()
    assert is_frozen(freezer)
    assert log == []
    writer = bench.write(point)
    assert writer.is_blocked()
    with pytest.raises(OSError, match="already frozen"):
        freezer.freeze()
    assert freezer.thaw() == 1
    assert writer.ended()
    assert not is_frozen(freezer)
    assert not marker.exists()
    assert log == [f"{marker} says that filesystems were left frozen: most commands wait for a thaw"]
    assert freezer.freeze([str(other)]) == [str(other)]
    assert marker.exists()
    assert marker.stat().st_mode & 0o777 == 0o600
    assert freezer.thaw() == 1
    assert not marker.exists()


def test_what_an_agent_of_another_make_left_frozen_ends_by_the_deadline_too(
    bench: Bench, real: OnlyBelow, point: Path, log: list[str], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    freezer = Freezer(log.append, str(tmp_path / "run"), real, marker=str(marker))
    freezer.time_limit = 1
    subprocess.run(["fsfreeze", "--freeze", point], check=True)
    freezer.recover()
    assert bench.write(point).ended()
    wait_until(lambda: not marker.exists())
    assert freezer.record.ended == "deadline"


def test_a_marker_that_cannot_be_made_is_only_told_of(
    real: OnlyBelow, point: Path, log: list[str], tmp_path: Path
) -> None:
    freezer = Freezer(log.append, str(tmp_path / "run"), real, marker=str(tmp_path / "nowhere/marker"))
    assert freezer.freeze() == [str(point)]
    assert freezer.thaw() == 1
    assert log[0] == f"cannot create {tmp_path}/nowhere/marker: No such file or directory"


def test_patience_comes_after_the_deadline() -> None:
    # The agent's own thaw is told of; that of its watchdog only in the log.
    assert freeze_watchdog.PATIENCE > 1
