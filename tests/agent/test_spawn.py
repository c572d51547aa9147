"""Starting programs whose user does what they can to keep them from starting."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations import child_start, processes
from tests.agent.loop_devices import hung_fuse, needs_root, take_request, wait_until
from tests.process_tree import children


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_start, "_START_TIME", 0.3)


@pytest.fixture(autouse=True)
def no_child_is_lost() -> Iterator[None]:
    before = children()
    yield

    def are_gone() -> bool:
        child_start.reap_abandoned()
        return children() == before

    wait_until(are_gone)


def fail_to_start(*argv: str, directory: str = "/") -> None:
    with pytest.raises(
        OSError, match=r"did not start within [0-9.]+ seconds: .* hangs, or the user has stopped"
    ) as caught:
        processes.spawn(argv, {}, directory=directory)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.root
@needs_root
def test_a_directory_that_hangs(tmp_path: Path) -> None:
    with hung_fuse(tmp_path):
        fail_to_start("true", directory=str(tmp_path))
        fail_to_start(str(tmp_path / "program"))
        with pytest.raises(OSError, match="did not start") as caught:
            processes.spawn_bare("true", [], [], False, "none", (), str(tmp_path))
        assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.root
@needs_root
def test_a_child_that_cannot_be_killed_keeps_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = child_start._kill

    def kill_late(pid: int) -> None:
        # A child whose request has not been taken can be killed.
        thread.join()
        kill(pid)
        # The next one may take its time.
        monkeypatch.setattr(child_start, "_START_TIME", 60.0)

    monkeypatch.setattr(child_start, "_kill", kill_late)
    other = os.open("/", os.O_RDONLY)
    os.set_inheritable(other, True)
    try:
        with hung_fuse(tmp_path) as server:
            server_copy = os.dup(server)
            thread = threading.Thread(target=take_request, args=(server_copy,))
            thread.start()
            fail_to_start("true", directory=str(tmp_path))
            (child,) = children()
            links = [os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()]
            assert len(links) == 4
            assert "/" not in links
            # Another program can be started meanwhile.
            started = processes.spawn(["true"], {}, directory="/")
            os.waitpid(started.pid, 0)
            for fd in (started.stdin, started.stdout, started.stderr):
                os.close(fd)
            os.close(server_copy)
    finally:
        os.close(other)


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_child_that_its_user_stops(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def stop(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    if step == "before":
        monkeypatch.setattr(processes, "_be_killable", stop)
        fail_to_start("true")
    else:
        # It has reported that there is no such program.
        monkeypatch.setattr(os, "_exit", stop)
        with pytest.raises(FileNotFoundError):
            processes.spawn(["/nowhere"], {}, directory="/")


def test_a_child_that_the_agent_may_not_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(FileNotFoundError):
        processes.spawn(["/nowhere"], {}, directory="/")
    assert children() == []
