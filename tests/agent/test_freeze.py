"""The freezer: its rules on a fake kernel, and its effect on real filesystems on loop devices."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.linux import hidden_mounts
from phoenix_ga.agent.linux import threads as threads_module
from phoenix_ga.agent.linux.block_devices import Topology
from phoenix_ga.agent.linux.freeze import FreezeBackend
from phoenix_ga.agent.linux.mounts import Filesystem, Mount, MountTree
from phoenix_ga.agent.operations.freeze import attempt as attempt_module
from phoenix_ga.agent.operations.freeze import operation as operation_module
from phoenix_ga.agent.operations.freeze import write_back as write_back_module
from phoenix_ga.agent.operations.freeze.freezer import Freezer
from phoenix_ga.agent.operations.freeze.state import FreezeState
from tests.agent.loop_devices import (
    TIMEOUT,
    Bench,
    OnlyBelow,
    hung_fuse,
    is_frozen,
    needs_root,
    run,
    wait_until,
)
from tests.process_tree import children


class FakeBackend(FreezeBackend):
    """Has the filesystems /1, /2, ... on devices 8:1, 8:2, ...; freezes them in the order of `points`.

    fail_freeze, fail_thaw: point -> errno. hold: freezing this point waits for the event.
    """

    def __init__(self, *points: str) -> None:
        self.points = points
        self.fail_freeze: dict[str, int] = {}
        self.fail_thaw: dict[str, int] = {}
        self.hold: dict[str, threading.Event] = {}
        self.at_work = ""
        self.frozen: list[str] = []
        self.calls: list[str] = []
        self.synced: set[str] = set()
        self.read_only: set[str] = set()
        self._open: dict[int, str] = {}

    def mounts(self) -> list[Mount]:
        # The latest mount is frozen first.
        return [
            Mount(100 + number, 1, os.makedev(8, number), "/", point, "ext4", "/dev/x", point in self.read_only)
            for number, point in reversed(list(enumerate(self.points, 1)))
        ]

    def mounts_elsewhere(self, known: set[int]) -> list[Mount]:
        return []

    def topology(self) -> Topology:
        return Topology()

    def open(self, filesystem: Filesystem, tree: MountTree) -> int:
        descriptor = os.open("/dev/null", os.O_RDONLY)
        self._open[descriptor] = filesystem.point
        return descriptor

    def sync(self, descriptor: int) -> None:
        self.synced.add(self._open[descriptor])

    def freeze(self, descriptor: int) -> None:
        point = self._open[descriptor]
        os.fstat(descriptor)
        self.calls.append("freeze " + point)
        if point in self.hold:
            self.at_work = point
            assert self.hold[point].wait(TIMEOUT)
        if point in self.fail_freeze:
            raise OSError(self.fail_freeze[point], os.strerror(self.fail_freeze[point]))
        self.frozen.append(point)

    def thaw(self, descriptor: int) -> None:
        point = self._open[descriptor]
        os.fstat(descriptor)
        self.calls.append("thaw " + point)
        if point in self.fail_thaw:
            raise OSError(self.fail_thaw[point], os.strerror(self.fail_thaw[point]))
        if point not in self.frozen:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.frozen.remove(point)


@pytest.fixture
def kernel() -> FakeBackend:
    return FakeBackend("/1", "/2", "/3")


@pytest.fixture
def freezer(tmp_path: Path, log: list[str], kernel: FakeBackend) -> Freezer:
    return Freezer(log.append, str(tmp_path / "run"), kernel)


@pytest.fixture(autouse=True)
def no_descriptor_is_lost() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_freezes_in_order_and_thaws_in_reverse(freezer: Freezer, kernel: FakeBackend, tmp_path: Path) -> None:
    assert not is_frozen(freezer)
    assert freezer.freeze() == ["/1", "/2", "/3"]
    assert is_frozen(freezer)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run/frozen").exists()
    assert freezer.thaw() == 3
    assert not is_frozen(freezer)
    assert not (tmp_path / "run/frozen").exists()
    assert kernel.calls == [*(f"freeze /{n}" for n in (1, 2, 3)), *(f"thaw /{n}" for n in (3, 2, 1))]
    assert kernel.synced == {"/1", "/2", "/3"}


def test_can_be_repeated(freezer: Freezer) -> None:
    for _ in range(3):
        assert freezer.freeze() == ["/1", "/2", "/3"]
        assert freezer.thaw() == 3


def test_only_the_filesystems_that_are_asked_for(freezer: Freezer, kernel: FakeBackend, log: list[str]) -> None:
    assert freezer.freeze(["/3", "/1", "/nowhere", "/1"]) == ["/1", "/3"]
    assert is_frozen(freezer)
    assert kernel.frozen == ["/1", "/3"]
    assert freezer.thaw() == 2
    assert kernel.calls == ["freeze /1", "freeze /3", "thaw /3", "thaw /1"]
    assert kernel.synced == {"/1", "/3"}
    assert log == []


@pytest.mark.parametrize("points", [[], ["/nowhere"], ["/1/", "1", ""]])
def test_asking_for_no_filesystem_freezes_none(
    freezer: Freezer, kernel: FakeBackend, tmp_path: Path, points: list[str]
) -> None:
    assert freezer.freeze(points) == []
    assert not is_frozen(freezer)
    assert kernel.calls == []
    assert not (tmp_path / "run/frozen").exists()
    assert freezer.thaw() == 0


def test_failure_of_one_that_was_asked_for_thaws_the_others(freezer: Freezer, kernel: FakeBackend) -> None:
    kernel.fail_freeze["/3"] = errno.EIO
    with pytest.raises(OSError, match=r"cannot freeze /3: .*; what was frozen has been thawed"):
        freezer.freeze(["/2", "/3"])
    assert not is_frozen(freezer)
    assert kernel.frozen == []
    assert freezer.freeze(["/2"]) == ["/2"]
    assert freezer.thaw() == 1


def test_thaw_with_nothing_frozen(freezer: Freezer, kernel: FakeBackend) -> None:
    assert freezer.thaw() == 0
    assert kernel.calls == []


def test_second_freeze_is_refused(freezer: Freezer, kernel: FakeBackend) -> None:
    freezer.freeze()
    with pytest.raises(OSError, match="already frozen") as caught:
        freezer.freeze()
    assert caught.value.errno == errno.EBUSY
    assert is_frozen(freezer)
    assert kernel.frozen == ["/1", "/2", "/3"]
    assert freezer.thaw() == 3


def test_the_log_is_held_from_before_the_freeze_to_after_the_thaw_whoever_else_asks(
    tmp_path: Path, log: list[str], kernel: FakeBackend
) -> None:
    news: list[str] = []
    freezer = Freezer(
        log.append,
        str(tmp_path / "run"),
        kernel,
        hold=lambda: news.append("hold"),
        release=lambda: news.append("release"),
    )
    kernel.hold["/2"] = threading.Event()
    first = threading.Thread(target=freezer.freeze)
    first.start()
    wait_until(lambda: kernel.at_work == "/2")
    with pytest.raises(OSError, match="being frozen or thawed"):
        freezer.freeze()
    kernel.hold["/2"].set()
    first.join()
    with pytest.raises(OSError, match="already frozen"):
        freezer.freeze()
    assert news == ["hold"]
    freezer.thaw()
    assert news == ["hold", "release"]


def test_failure_thaws_what_was_frozen(freezer: Freezer, kernel: FakeBackend, tmp_path: Path, log: list[str]) -> None:
    kernel.fail_freeze["/3"] = errno.EIO
    with pytest.raises(OSError, match=r"cannot freeze /3: .*; what was frozen has been thawed") as caught:
        freezer.freeze()
    assert caught.value.errno == errno.EIO
    assert not is_frozen(freezer)
    assert kernel.frozen == []
    assert kernel.calls[-2:] == ["thaw /2", "thaw /1"]
    assert not (tmp_path / "run/frozen").exists()
    kernel.fail_freeze.clear()
    assert freezer.freeze() == ["/1", "/2", "/3"]
    freezer.thaw()


def test_failure_of_the_roll_back_is_told_and_can_be_retried(freezer: Freezer, kernel: FakeBackend) -> None:
    kernel.fail_freeze["/3"] = errno.EIO
    kernel.fail_thaw["/1"] = errno.ENOSPC
    with pytest.raises(OSError, match=r"cannot freeze /3: .*; cannot thaw /1: .*; still frozen, try again") as caught:
        freezer.freeze()
    assert caught.value.errno == errno.EIO
    assert is_frozen(freezer)
    assert kernel.frozen == ["/1"]
    kernel.fail_thaw.clear()
    assert freezer.thaw() == 1
    assert not is_frozen(freezer)


def test_what_cannot_be_or_is_frozen_is_left_alone(
    freezer: Freezer, kernel: FakeBackend, tmp_path: Path, log: list[str]
) -> None:
    kernel.fail_freeze.update({"/1": errno.EOPNOTSUPP, "/2": errno.EBUSY})
    assert freezer.freeze() == ["/3"]
    state = (tmp_path / "run/frozen").read_text()
    assert "filesystem 8:3 /3\n" in state
    assert "/1" not in state
    assert "/2" not in state
    # Whoever writes the log may wait for a frozen filesystem.
    assert log == []
    assert freezer.thaw() == 1
    assert [line.partition(" ")[0] for line in log] == ["/1", "/2"]
    assert "somebody else" in log[1]
    assert "thaw /2" not in kernel.calls


def test_nothing_to_freeze_is_not_frozen(freezer: Freezer, kernel: FakeBackend, tmp_path: Path) -> None:
    kernel.fail_freeze.update(dict.fromkeys(kernel.points, errno.EOPNOTSUPP))
    assert freezer.freeze() == []
    assert not is_frozen(freezer)
    assert not (tmp_path / "run/frozen").exists()


def test_read_only_is_not_touched(freezer: Freezer, kernel: FakeBackend) -> None:
    kernel.read_only.add("/2")
    assert freezer.freeze() == ["/1", "/3"]
    freezer.thaw()


def test_thaw_goes_on_after_a_failure(freezer: Freezer, kernel: FakeBackend, log: list[str]) -> None:
    freezer.freeze()
    kernel.frozen.remove("/3")
    kernel.fail_thaw["/2"] = errno.EIO
    with pytest.raises(OSError, match="cannot thaw /2") as caught:
        freezer.thaw()
    assert caught.value.errno == errno.EIO
    assert kernel.frozen == ["/2"]
    assert is_frozen(freezer)
    assert log == []
    kernel.fail_thaw.clear()
    assert freezer.thaw() == 1
    assert not is_frozen(freezer)
    assert log == ["/3 was no longer frozen: somebody else thawed it"]


def test_run_directory_that_cannot_be_made(log: list[str], kernel: FakeBackend, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    freezer = Freezer(log.append, str(tmp_path / "file/run"), kernel)
    with pytest.raises(NotADirectoryError, match="run directory"):
        freezer.freeze()
    assert not is_frozen(freezer)
    assert kernel.calls == []


@needs_root
@pytest.mark.parametrize("way", ["overlay", "loop", "bind"])
def test_run_directory_that_reaches_what_would_be_frozen_through_other_mounts(
    log: list[str], bench: Bench, real: OnlyBelow, tmp_path: Path, way: str
) -> None:
    carrier = bench.make(tmp_path / "image", "carrier", size="64M")
    for name in ("upper", "work", "bound"):
        (carrier / name).mkdir()
    point = bench.directory / "point"
    point.mkdir()
    if way == "overlay":
        options = f"lowerdir={tmp_path},upperdir={carrier}/upper,workdir={carrier}/work"
        bench.mount("overlay", point, "-t", "overlay", "-o", options)
    elif way == "loop":
        bench.make(carrier / "inner", "point")
    else:
        bench.mount(carrier / "bound", point, "--bind")
    freezer = Freezer(log.append, str(point / "run"), real)
    with pytest.raises(OSError, match=r"the run directory .* would be frozen too, with .*carrier") as caught:
        freezer.freeze(points=[str(carrier)])
    assert caught.value.errno == errno.EINVAL
    assert real.calls == []


def test_run_directory_on_what_would_be_frozen(log: list[str], tmp_path: Path) -> None:
    class Real(FakeBackend):
        def mounts(self) -> list[Mount]:
            return FreezeBackend().mounts()

        def topology(self) -> Topology:
            return FreezeBackend().topology()

    kernel = Real()
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("the temporary directory is not on a block device")
    with pytest.raises(OSError, match="must be on a tmpfs") as caught:
        Freezer(log.append, str(tmp_path), kernel).freeze()
    assert caught.value.errno == errno.EINVAL
    assert kernel.calls == []


def test_hidden_filesystem_is_an_error(
    freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def hidden(filesystem: Filesystem, tree: MountTree) -> int:
        tried.append(filesystem.point)
        raise OSError(errno.ENOENT, "another mount hides it")

    monkeypatch.setattr(kernel, "open", hidden)
    with pytest.raises(FileNotFoundError, match="cannot freeze /1: another mount hides it; nothing was frozen"):
        freezer.freeze()
    # Mounts are read again: one may just have vanished.
    assert tried == ["/1"] * 3
    assert kernel.calls == []


def test_status_and_second_freeze_while_the_first_is_stuck(freezer: Freezer, kernel: FakeBackend) -> None:
    release = kernel.hold["/2"] = threading.Event()
    worker = threading.Thread(target=freezer.freeze)
    worker.start()
    wait_until(lambda: kernel.at_work == "/2")
    assert is_frozen(freezer)
    with pytest.raises(OSError, match="being frozen") as caught:
        freezer.freeze()
    assert caught.value.errno == errno.EBUSY
    release.set()
    worker.join()
    assert freezer.thaw() == 3


def in_thread(freezer: Freezer) -> tuple[threading.Thread, list[OSError]]:
    errors: list[OSError] = []

    def run() -> None:
        try:
            freezer.freeze()
        except OSError as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    return worker, errors


def test_thaw_cancels_a_freeze_at_work(freezer: Freezer, kernel: FakeBackend) -> None:
    release = kernel.hold["/2"] = threading.Event()
    worker, errors = in_thread(freezer)
    wait_until(lambda: kernel.at_work == "/2")
    thawed: list[int] = []
    thawer = threading.Thread(target=lambda: thawed.append(freezer.thaw()))
    thawer.start()
    # What is frozen so far is thawed at once: the kernel may be waiting for it.
    wait_until(lambda: kernel.frozen == [])
    assert is_frozen(freezer)
    release.set()
    worker.join()
    thawer.join()
    assert thawed == [1]
    assert [error.errno for error in errors] == [errno.ECANCELED]
    assert kernel.frozen == []
    assert not is_frozen(freezer)
    assert "freeze /3" not in kernel.calls
    kernel.hold.clear()
    assert len(freezer.freeze()) == 3
    assert freezer.thaw() == 3


def test_thaw_does_not_wait_for_ever(freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_module, "CANCEL_TIME_LIMIT", 0.05)
    release = kernel.hold["/3"] = threading.Event()
    worker, errors = in_thread(freezer)
    wait_until(lambda: kernel.at_work == "/3")
    with pytest.raises(OSError, match="stuck in the kernel; 2 filesystems") as caught:
        freezer.thaw()
    assert caught.value.errno == errno.EBUSY
    assert kernel.frozen == []
    assert is_frozen(freezer)
    release.set()
    worker.join()
    # The freeze itself thaws what it was stuck in.
    assert [error.errno for error in errors] == [errno.ECANCELED]
    assert not is_frozen(freezer)
    assert kernel.frozen == []


def test_thaw_that_waits_for_what_is_being_frozen(freezer: Freezer, kernel: FakeBackend) -> None:
    """/1 is on a loop file on /2: its thaw blocks until /2 is thawed, which is being frozen."""
    release = kernel.hold["/2"] = threading.Event()
    plain_thaw = kernel.thaw
    in_thaw = threading.Event()

    def thaw(descriptor: int) -> None:
        if kernel._open[descriptor] == "/1":
            in_thaw.set()
            wait_until(lambda: "thaw /2" in kernel.calls)
        plain_thaw(descriptor)

    kernel.thaw = thaw  # type: ignore[method-assign]
    worker, _ = in_thread(freezer)
    wait_until(lambda: kernel.at_work == "/2")
    thawer = threading.Thread(target=freezer.thaw)
    thawer.start()
    assert in_thaw.wait(TIMEOUT)
    release.set()
    worker.join(TIMEOUT)
    thawer.join(TIMEOUT)
    assert not worker.is_alive()
    assert not thawer.is_alive()
    assert kernel.frozen == []
    assert not is_frozen(freezer)


def test_many_threads_leave_nothing_frozen(freezer: Freezer, kernel: FakeBackend) -> None:
    refused: set[int | None] = set()

    def run() -> None:
        for number in range(200):
            try:
                freezer.freeze() if number % 2 else freezer.thaw()
            except OSError as error:
                refused.add(error.errno)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused <= {errno.EBUSY, errno.ECANCELED}
    freezer.thaw()
    assert not is_frozen(freezer)
    assert kernel.frozen == []


def test_a_write_back_that_hangs_does_not_stop_the_freeze(
    freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setattr(write_back_module, "WRITE_BACK_TIME_LIMIT", 0.2)
    release = threading.Event()
    hung: list[str] = []
    done: list[str] = []

    def sync(descriptor: int) -> None:
        point = kernel._open[descriptor]
        if point == "/2":
            hung.append(point)
            release.wait(TIMEOUT)
        done.append(point)

    monkeypatch.setattr(kernel, "sync", sync)
    for _ in range(2):
        assert len(freezer.freeze()) == 3
        freezer.thaw()
    # The second leaves it out, instead of adding one more thread that hangs.
    assert hung == ["/2"]
    assert sorted(done) == ["/1", "/1", "/3", "/3"]
    assert log == ["not all dirty data of /2 was written before the freeze"] * 2
    release.set()
    wait_until(lambda: "/2" in done)


# The generation, and how a freeze ended


def test_a_thaw_by_its_generation_proves_that_the_freeze_held(freezer: Freezer, kernel: FakeBackend) -> None:
    record = freezer.freeze_recorded()
    assert (record.points, record.skipped, record.ended) == (["/1", "/2", "/3"], [], "")
    assert freezer.thaw(record.generation) == 3
    assert record.ended == "released"
    assert 0 < record.since <= record.until
    # The answer may have been lost, so the client asks again.
    assert freezer.thaw(record.generation) == 0
    assert freezer.freeze_recorded().generation not in ("", record.generation)
    freezer.thaw()


@pytest.mark.parametrize(
    ("thaw", "ended", "reason"),
    [
        (lambda freezer: freezer.thaw(), "thawed", "somebody thawed"),
        (lambda freezer: freezer._expire(freezer._freeze_number, 1.0), "deadline", "its time limit was reached"),
    ],
)
def test_a_freeze_that_somebody_ended_did_not_hold(
    freezer: Freezer, kernel: FakeBackend, thaw: Callable[[Freezer], object], ended: str, reason: str
) -> None:
    generation = freezer.freeze_recorded().generation
    thaw(freezer)
    assert freezer.record.ended == ended
    with pytest.raises(OSError, match=f"the freeze did not hold: {reason}") as caught:
        freezer.thaw(generation)
    assert caught.value.errno == errno.ESTALE
    # Nor is the next one touched.
    freezer.freeze()
    with pytest.raises(OSError, match="does not know of it; the agent has frozen again") as caught:
        freezer.thaw(generation)
    assert caught.value.errno == errno.ESTALE
    assert kernel.frozen == ["/1", "/2", "/3"]
    freezer.thaw()


def test_what_another_program_thawed_did_not_hold(freezer: Freezer, kernel: FakeBackend) -> None:
    generation = freezer.freeze_recorded().generation
    kernel.frozen.remove("/2")
    for _ in range(2):
        with pytest.raises(OSError, match="the freeze did not hold: another program thawed /2"):
            freezer.thaw(generation)
        assert freezer.record.ended == "broken"
        assert kernel.frozen == []
        # It changes nothing.
        assert freezer.thaw() == 0
    assert not is_frozen(freezer)


def test_what_was_thawed_beside_a_freeze_that_failed_is_not_charged_to_the_next(
    freezer: Freezer, kernel: FakeBackend
) -> None:
    kernel.hold["/2"] = threading.Event()
    kernel.fail_freeze["/2"] = errno.EIO
    thread, errors = in_thread(freezer)
    wait_until(lambda: kernel.at_work == "/2")
    kernel.frozen.remove("/1")
    kernel.hold.pop("/2").set()
    thread.join()
    assert [error.errno for error in errors] == [errno.EIO]
    kernel.fail_freeze.clear()
    assert freezer.thaw(freezer.freeze_recorded().generation) == 3


@pytest.mark.parametrize(
    ("thaw", "ended"),
    [
        (lambda freezer: freezer.thaw(), "thawed"),
        (lambda freezer: freezer._expire(freezer._freeze_number, 1.0), "deadline"),
    ],
)
def test_a_thaw_that_failed_had_ended_the_freeze(
    freezer: Freezer, kernel: FakeBackend, thaw: Callable[[Freezer], object], ended: str
) -> None:
    """The others are thawed, so a second thaw proves nothing."""
    generation = freezer.freeze_recorded().generation
    kernel.fail_thaw["/2"] = errno.EIO
    with contextlib.suppress(OSError):
        thaw(freezer)
    assert kernel.frozen == ["/2"]
    kernel.fail_thaw.clear()
    with pytest.raises(OSError, match="the freeze did not hold"):
        freezer.thaw(generation)
    assert (kernel.frozen, freezer.record.ended) == ([], ended)


def test_a_release_that_failed_can_be_repeated(freezer: Freezer, kernel: FakeBackend) -> None:
    generation = freezer.freeze_recorded().generation
    kernel.fail_thaw["/2"] = errno.EIO
    with pytest.raises(OSError, match="still frozen, try again"):
        freezer.thaw(generation)
    kernel.fail_thaw.clear()
    assert freezer.thaw(generation) == 1
    assert freezer.record.ended == "released"


def test_the_record_has_what_was_skipped_and_nothing_of_a_freeze_that_failed(
    freezer: Freezer, kernel: FakeBackend
) -> None:
    kernel.fail_freeze.update({"/1": errno.EOPNOTSUPP, "/2": errno.EBUSY})
    record = freezer.freeze_recorded()
    assert record.skipped == [("/1", "unsupported"), ("/2", "foreign")]
    freezer.thaw()
    kernel.fail_freeze["/3"] = errno.EIO
    with pytest.raises(OSError, match="cannot freeze /3"):
        freezer.freeze()
    assert (freezer.record.generation, freezer.record.ended) == ("", "")


def test_a_thaw_by_another_generation_does_not_cancel_a_freeze(
    freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_module, "CANCEL_TIME_LIMIT", 0.05)
    release = kernel.hold["/2"] = threading.Event()
    worker, errors = in_thread(freezer)
    wait_until(lambda: kernel.at_work == "/2")
    with pytest.raises(OSError, match="being frozen or thawed") as caught:
        freezer.thaw("0123456789abcdef")
    assert caught.value.errno == errno.EBUSY
    release.set()
    worker.join()
    assert errors == []
    assert freezer.thaw() == 3


def test_a_wrong_mount_point_is_refused_if_asked_to(freezer: Freezer, kernel: FakeBackend) -> None:
    with pytest.raises(OSError, match="/nowhere is not the mount point of a filesystem") as caught:
        freezer.freeze(["/1", "/nowhere"], strict=True)
    assert caught.value.errno == errno.EINVAL
    assert kernel.calls == []
    assert freezer.freeze(["/1"], strict=True) == ["/1"]
    freezer.thaw()


def test_a_device_that_hangs_fails_the_freeze_in_time(
    freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "FREEZE_TIME_LIMIT", 0.2)
    release = kernel.hold["/2"] = threading.Event()
    with pytest.raises(OSError, match=r"cannot freeze /2: its device does not answer.*thawed 1 others") as caught:
        freezer.freeze()
    assert caught.value.errno == errno.ETIMEDOUT
    assert kernel.frozen == []
    assert not is_frozen(freezer)
    assert freezer.has_work_left
    with pytest.raises(OSError, match="being frozen or thawed"):
        freezer.freeze()
    # When the kernel returns, it has frozen it.
    release.set()
    wait_until(lambda: not freezer._operation.locked())
    assert kernel.frozen == []
    kernel.hold.clear()
    assert len(freezer.freeze()) == 3
    assert is_frozen(freezer)
    freezer.thaw()


@pytest.mark.parametrize("asked", range(4))
def test_a_freeze_that_is_called_off_leaves_nothing_frozen(freezer: Freezer, kernel: FakeBackend, asked: int) -> None:
    answers = iter([False] * asked + [True] * 20)
    with pytest.raises(OSError, match="called off") as caught:
        freezer.freeze(revoked=lambda: next(answers))
    assert caught.value.errno == errno.ECANCELED
    assert not is_frozen(freezer)
    assert len(freezer.freeze()) == 3
    assert freezer.thaw() == 3


def test_without_a_thread_nothing_is_frozen_and_nothing_stays_locked(
    freezer: Freezer, kernel: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(function: object, arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threads_module, "start_new_thread", fails)
        for _ in range(2):
            with pytest.raises(BlockingIOError, match="no thread is left for the freeze"):
                freezer.freeze()
        assert not is_frozen(freezer)
        assert kernel.calls == []
    assert len(freezer.freeze()) == 3
    assert kernel.synced
    assert freezer.thaw() == 3


def test_a_full_run_directory_refuses_the_freeze_and_nothing_is_left_there(
    freezer: Freezer, kernel: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"cannot write to the run directory .*: No space left") as caught:
            freezer.freeze()
    assert caught.value.errno == errno.ENOSPC
    assert not is_frozen(freezer)
    assert kernel.frozen == []
    assert list((tmp_path / "run").iterdir()) == []


def dead_process() -> str:
    """The number and start time of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return f"{process.pid} 1"


def write_state(directory: Path, process: str, *lines: str, boot: str = "") -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    text = "".join(f"{line}\n" for line in (f"boot {boot}", f"process {process}", *lines))
    (directory / "frozen").write_text(text)


def test_recovers_what_a_dead_agent_left(
    freezer: Freezer, kernel: FakeBackend, tmp_path: Path, log: list[str]
) -> None:
    kernel.frozen = ["/1", "/2"]
    lines = (f"filesystem 8:{n} /{n}" for n in (1, 2, 3, 9))
    write_state(tmp_path / "run", dead_process(), "generation 0123abcd 1764280000000", *lines)
    assert freezer.recover() == 2
    record = freezer.record
    assert (record.generation, record.since, record.ended) == ("0123abcd", 1764280000000, "died")
    assert record.until > record.since
    with pytest.raises(OSError, match="the freeze did not hold: the agent was killed"):
        freezer.thaw("0123abcd")
    assert kernel.calls == ["thaw /3", "thaw /2", "thaw /1"]
    assert kernel.frozen == []
    assert not is_frozen(freezer)
    assert not (tmp_path / "run/frozen").exists()
    assert any("8:9" in line for line in log)
    assert any("thawed 2" in line for line in log)


def test_a_watchdog_that_reports_during_the_recovery_leaves_nothing_behind(
    freezer: Freezer, kernel: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    write_state(run, dead_process(), "generation 0123abcd 1764280000000", "filesystem 8:1 /1")

    def thaw_after_the_watchdog(descriptor: int) -> None:
        (run / "frozen").rename(run / "thawed")
        raise OSError(errno.EINVAL, "not frozen")

    monkeypatch.setattr(kernel, "thaw", thaw_after_the_watchdog)
    assert freezer.recover() == 0
    assert (freezer.record.generation, freezer.record.ended) == ("0123abcd", "died")
    assert list(run.iterdir()) == []


def test_recovers_after_executing_itself_anew(log: list[str], kernel: FakeBackend, tmp_path: Path) -> None:
    first = Freezer(log.append, str(tmp_path / "run"), kernel)
    first.freeze()
    second = Freezer(log.append, str(tmp_path / "run"), kernel)
    assert second.recover() == 3
    assert kernel.frozen == []
    assert first.thaw() == 0


def test_recovery_that_fails_can_be_retried(freezer: Freezer, kernel: FakeBackend, tmp_path: Path) -> None:
    kernel.frozen = ["/1"]
    kernel.fail_thaw["/1"] = errno.EIO
    write_state(tmp_path / "run", dead_process(), "generation 0123abcd 1764280000000", "filesystem 8:1 /1")
    assert freezer.recover() == 0
    assert is_frozen(freezer)
    kernel.fail_thaw.clear()
    # It did not hold, though somebody asks for its release now.
    with pytest.raises(OSError, match="the freeze did not hold: the agent was killed"):
        freezer.thaw("0123abcd")
    assert kernel.frozen == []
    assert not is_frozen(freezer)
    assert not (tmp_path / "run/frozen").exists()


def test_nothing_to_recover(freezer: Freezer, kernel: FakeBackend, tmp_path: Path) -> None:
    assert freezer.recover() == 0
    # An agent that is alive, and a file from before a reboot.
    parent = os.getppid()
    start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    write_state(tmp_path / "run", f"{parent} {start}", "filesystem 8:1 /1")
    assert freezer.recover() == 0
    assert (tmp_path / "run/frozen").exists()
    write_state(tmp_path / "run", dead_process(), "filesystem 8:1 /1", boot="another")
    assert freezer.recover() == 0
    assert not (tmp_path / "run/frozen").exists()
    assert kernel.calls == []


def test_state_that_makes_no_sense_is_logged(freezer: Freezer, tmp_path: Path, log: list[str]) -> None:
    write_state(tmp_path / "run", "nonsense", "filesystem 8:1 /1")
    assert freezer.recover() == 0
    assert not is_frozen(freezer)
    assert "is malformed" in log[0]


def test_state_keeps_odd_names(tmp_path: Path) -> None:
    state = FreezeState(str(tmp_path))
    state.open()
    state.write([(os.makedev(253, 300), "/a b\n\udce9"), (os.makedev(8, 1), "/cr\rhere")])
    state.write_hooks(["/cr\r"])
    state.close()
    assert (tmp_path / "frozen").read_bytes().split(b"\n")[2] == b"filesystem 253:300 /a\\040b\\012\xe9"
    # Written by this very process, so left behind.
    assert state.left_behind() == [os.makedev(253, 300), os.makedev(8, 1)]
    assert state.hooks_left_behind() == ["/cr\r"]


# Real filesystems, on loop devices. The root of this machine is never frozen.


@pytest.mark.root
@pytest.mark.programs("mkfs.xfs")
@needs_root
def test_writes_wait_until_the_thaw(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    points = [bench.make(tmp_path / f"image-{kind}", kind, kind, size) for kind, size in SOME_KINDS]
    free = tmp_path / "free"
    free.mkdir()
    writers = []
    try:
        assert set(real_freezer.freeze()) == {str(point) for point in points}
        assert not bench.write(free).is_blocked()
        writers = [bench.write(point) for point in points]
        assert all(writer.is_blocked() for writer in writers)
    finally:
        thawed = real_freezer.thaw()
    assert thawed == len(points)
    assert all(writer.ended() for writer in writers)


# xfs takes no less.
SOME_KINDS = [("ext4", "24M"), ("xfs", "300M")]


@pytest.mark.root
@needs_root
def test_loop_in_loop_and_bind_mounts(bench: Bench, real_freezer: Freezer, real: OnlyBelow, tmp_path: Path) -> None:
    outer = bench.make(tmp_path / "image", "outer", size="96M")
    middle = bench.make(outer / "image", "middle", size="64M")
    inner = bench.make(middle / "image", "inner")
    # The holder is mounted once more, and last.
    for number, source in enumerate((outer, inner, outer)):
        point = tmp_path / f"another-place{number}"
        point.mkdir()
        bench.mount(source, point, "--bind")
    for point in (outer, middle, inner):
        (point / "dirty").write_bytes(os.urandom(1 << 20))
    try:
        frozen = real_freezer.freeze()
        assert len(frozen) == 3
        assert bench.write(tmp_path / "another-place1").is_blocked()
    finally:
        thawed = real_freezer.thaw()
    assert thawed == 3
    order = ["inner", "middle", "outer"]
    # Of several mounts of one filesystem the one with the shortest path stands for it.
    assert [os.path.basename(point) for point in frozen] == order
    assert real.calls == [f"freeze {name}" for name in order] + [f"thaw {name}" for name in order[::-1]]


@pytest.mark.root
@needs_root
def test_a_selection_by_any_mount_point_keeps_the_order(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    outer = bench.make(tmp_path / "image", "outer", size="96M")
    middle = bench.make(outer / "image", "middle", size="64M")
    inner = bench.make(middle / "image", "inner")
    bind = tmp_path / "another-place"
    bind.mkdir()
    bench.mount(outer, bind, "--bind")
    try:
        # Through the one between them, the inner one depends on the outer one.
        frozen = real_freezer.freeze([str(bind), str(inner)])
        assert [os.path.basename(point) for point in frozen] == ["inner", "outer"]
        assert bench.write(outer).is_blocked()
    finally:
        assert real_freezer.thaw() == 2
    hidden = bench.make(tmp_path / "image2", "inner")
    try:
        assert real_freezer.freeze([str(hidden)]) == [str(hidden)]
        assert not bench.write(middle).is_blocked()
    finally:
        assert real_freezer.thaw() == 1


@pytest.mark.root
@needs_root
def test_a_real_filesystem_that_fsfreeze_thaws_did_not_hold(
    bench: Bench, real_freezer: Freezer, tmp_path: Path
) -> None:
    first, second = (bench.make(tmp_path / f"image{number}", f"fs{number}") for number in range(2))
    generation = real_freezer.freeze_recorded().generation
    run("fsfreeze", "--unfreeze", second)
    with pytest.raises(OSError, match=f"the freeze did not hold: another program thawed {second}$"):
        real_freezer.thaw(generation)
    assert bench.write(first).ended()
    record = real_freezer.freeze_recorded()
    assert real_freezer.thaw(record.generation) == 2
    assert record.ended == "released"


@pytest.mark.root
@needs_root
def test_dirty_data_is_written_before_the_freeze(
    bench: Bench, real_freezer: Freezer, real: OnlyBelow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = bench.make(tmp_path / "image", "point")
    marker = os.urandom(64)
    on_disk: list[bool] = []
    monkeypatch.setattr(real, "sync", lambda descriptor: FreezeBackend.sync(real, descriptor))
    plain_freeze = real.freeze

    def freeze(descriptor: int) -> None:
        on_disk.append(marker in (tmp_path / "image").read_bytes())
        plain_freeze(descriptor)

    monkeypatch.setattr(real, "freeze", freeze)
    (point / "dirty").write_bytes(marker)
    assert marker not in (tmp_path / "image").read_bytes()
    try:
        real_freezer.freeze()
    finally:
        real_freezer.thaw()
    assert on_disk == [True]


@pytest.mark.root
@needs_root
def test_real_roll_back(bench: Bench, real_freezer: Freezer, real: OnlyBelow, tmp_path: Path) -> None:
    points = [bench.make(tmp_path / f"image{number}", f"fs{number}") for number in range(3)]
    real.fail_at = 3
    try:
        with pytest.raises(OSError, match=r"cannot freeze .*fs0: .*; what was frozen has been thawed"):
            real_freezer.freeze()
        assert not real_freezer.frozen
        assert real.calls[3:] == ["thaw fs1", "thaw fs2"]
        for point in points:
            assert bench.write(point).ended()
    finally:
        real_freezer.thaw()


@pytest.mark.root
@needs_root
def test_frozen_by_fsfreeze_is_left_frozen(
    bench: Bench, real_freezer: Freezer, log: list[str], tmp_path: Path
) -> None:
    first = bench.make(tmp_path / "image1", "first")
    second = bench.make(tmp_path / "image2", "second")
    run("fsfreeze", "--freeze", first)
    try:
        assert real_freezer.freeze() == [str(second)]
        assert real_freezer.thaw() == 1
        writer = bench.write(first)
        assert writer.is_blocked()
        assert "somebody else" in log[0]
    finally:
        real_freezer.thaw()
        run("fsfreeze", "--unfreeze", first)
    assert writer.ended()


@pytest.mark.root
@needs_root
def test_over_mounted(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    lower = bench.make(tmp_path / "image1", "point")
    elsewhere = tmp_path / "some-longer-path"
    elsewhere.mkdir()
    bench.mount(lower, elsewhere, "--bind")
    bench.make(tmp_path / "image2", "point")
    try:
        assert len(real_freezer.freeze()) == 2
        assert bench.write(lower).is_blocked()
        assert bench.write(elsewhere).is_blocked()
    finally:
        assert real_freezer.thaw() == 2


def freeze_and_thaw(freezer: Freezer, bench: Bench, image: Path, selection: list[str] | None = None) -> list[str]:
    """Freeze, look whether writing waits for the thaw, thaw."""
    # Through another mount, which the agent does not see.
    loop = run("losetup", "--noheadings", "--output", "NAME", "--associated", image)
    with tempfile.TemporaryDirectory() as elsewhere:
        run("mount", loop, elsewhere)
        try:
            try:
                points = freezer.freeze(selection)
                writer = bench.write(Path(elsewhere))
                assert writer.is_blocked()
            finally:
                thawed = freezer.thaw()
            assert writer.ended()
        finally:
            run("umount", elsewhere)
    assert thawed == len(points)
    return points


def mounts_below(directory: Path) -> list[str]:
    """Return the mounts below a directory; those of other tests come and go."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]


@pytest.mark.root
@needs_root
def test_hidden_by_other_mounts(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    lower = bench.make(tmp_path / "image1", "point")
    (lower / "inner").mkdir()
    inner = bench.make(tmp_path / "image3", "point/inner")
    for size in ("1m", "2m"):
        bench.mount("none", lower, "-t", "tmpfs", "-o", f"size={size}")
    before = mounts_below(tmp_path)
    assert set(freeze_and_thaw(real_freezer, bench, tmp_path / "image1")) == {str(lower), str(inner)}
    assert set(freeze_and_thaw(real_freezer, bench, tmp_path / "image3")) == {str(lower), str(inner)}
    assert mounts_below(tmp_path) == before


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("layers", [1, 300])
def test_hidden_by_fuse_that_hangs(bench: Bench, real_freezer: Freezer, tmp_path: Path, layers: int) -> None:
    point = bench.make(tmp_path / "image", "point")
    # Shared, as systemd has it: what is unmounted must stay mounted elsewhere.
    run("mount", "--make-shared", point)
    with contextlib.ExitStack() as stack:
        for _ in range(layers):
            stack.enter_context(hung_fuse(point))
        assert freeze_and_thaw(real_freezer, bench, tmp_path / "image") == [str(point)]
        assert freeze_and_thaw(real_freezer, bench, tmp_path / "image", [str(point)]) == [str(point)]
        assert len([mount for mount in OnlyBelow(tmp_path).mounts() if mount.point == str(point)]) == layers + 1


@pytest.mark.root
@needs_root
def test_a_hidden_filesystem_is_thawed_after_a_death(
    bench: Bench, real_freezer: Freezer, log: list[str], tmp_path: Path
) -> None:
    first, second = (bench.make(tmp_path / f"image{number}", f"point{number}") for number in (1, 2))
    with hung_fuse(first), hung_fuse(second):
        kill_frozen(tmp_path, "both")
        assert real_freezer.recover() == 2
    assert log == ["an agent that died left filesystems frozen: thawed 2"]
    assert bench.write(first).ended()
    assert bench.write(second).ended()


@pytest.mark.root
@needs_root
def test_opening_a_hidden_filesystem_has_an_end(
    bench: Bench, real_freezer: Freezer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = bench.make(tmp_path / "image", "point")
    others = set(children())
    monkeypatch.setattr(hidden_mounts, "TIME_LIMIT", 0.2)
    monkeypatch.setattr(hidden_mounts, "_open", lambda device, blocks, namespace: time.sleep(TIMEOUT))
    text = (
        rf"cannot freeze {point}: a mount of type fuse at {point} hides it: opening it took longer than 0.2 seconds"
    )
    with hung_fuse(point), pytest.raises(OSError, match=text) as caught:
        real_freezer.freeze()
    assert caught.value.errno == errno.ETIMEDOUT
    assert not real_freezer.frozen
    wait_until(lambda: set(children()) <= others)


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("kind", ["socket", "fifo"])
def test_only_a_special_file_is_mounted(bench: Bench, real_freezer: Freezer, tmp_path: Path, kind: str) -> None:
    point = bench.make(tmp_path / "image", "point")
    special = point / "special"
    if kind == "fifo":
        os.mkfifo(special)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(special))
    target = tmp_path / "target"
    target.write_text("")
    bench.mount(special, target, "--bind")
    loop = run("losetup", "--noheadings", "--output", "NAME", "--associated", tmp_path / "image")
    run("umount", point)
    # Mounted anew at the end, for the bench to unmount.
    try:
        assert freeze_and_thaw(real_freezer, bench, tmp_path / "image") == [str(target)]
        assert freeze_and_thaw(real_freezer, bench, tmp_path / "image", [str(target)]) == [str(target)]
    finally:
        run("mount", loop, point)


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("died", [False, True])
def test_mounted_in_another_namespace_only(bench: Bench, real_freezer: Freezer, tmp_path: Path, died: bool) -> None:
    point = bench.make(tmp_path / "image", "point")
    loop = run("losetup", "--noheadings", "--output", "NAME", "--associated", tmp_path / "image")
    script = "echo ready; exec sleep 1000"
    other = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        run("umount", point)
        name = f"{point} of process {other.pid}"
        plan = real_freezer.plan()["filesystems"]
        assert plan == [{"mountpoint": name, "type": "ext4", "devices": [loop], "process": other.pid}]
        # A path is one of this namespace.
        assert real_freezer.freeze([str(point)]) == []
        if died:
            kill_frozen(tmp_path, "both", count=1)
        else:
            assert real_freezer.freeze() == [name]
        writer = bench.write(Path(f"/proc/{other.pid}/root{point}"))
        assert writer.is_blocked()
        assert (real_freezer.recover() if died else real_freezer.thaw()) == 1
        assert writer.ended()
    finally:
        real_freezer.thaw()
        # For the bench to unmount.
        run("mount", loop, point)
        other.kill()
        other.communicate()


@pytest.mark.root
@needs_root
def test_the_plan_tells_the_order_and_what_is_skipped(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    outer = bench.make(tmp_path / "image", "outer", size="64M")
    inner = bench.make(outer / "image", "inner")
    read_only = bench.make(tmp_path / "image2", "readonly")
    fuse = tmp_path / "fuse"
    fuse.mkdir()
    run("mount", "-o", "remount,ro", read_only)
    with hung_fuse(fuse):
        plan = real_freezer.plan()
        assert [each["mountpoint"] for each in plan["filesystems"]] == [str(inner), str(outer)]
        skipped = {each["mountpoint"]: each["reason"] for each in plan["skipped"]}
        assert skipped == {str(read_only): "read-only", str(fuse): "fuse"}
        assert plan["dirty"] >= 0
        assert real_freezer.freeze() == [str(inner), str(outer)]
        real_freezer.thaw()
    with pytest.raises(OSError, match="is not the mount point"):
        real_freezer.plan([str(read_only)])


@pytest.mark.root
@needs_root
def test_mounted_on_a_file_only(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    point = bench.make(tmp_path / "image", "point")
    (point / "file").write_text("here")
    target = tmp_path / "target"
    target.write_text("")
    bench.mount(point / "file", target, "--bind")
    run("umount", point)
    # Mounted anew at the end, for the bench to unmount.
    try:
        assert real_freezer.freeze() == [str(target)]
    finally:
        thawed = real_freezer.thaw()
        source = next(mount.source for mount in OnlyBelow(tmp_path).mounts())
        run("mount", source, point)
    assert thawed == 1


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("name", [b"with space", b"tab\tnew\nline", b"caf\xe9", b"back\\040slash", b"cr\r"])
def test_odd_names(bench: Bench, real_freezer: Freezer, tmp_path: Path, name: bytes) -> None:
    point = bench.make(tmp_path / "image", name)
    try:
        frozen = real_freezer.freeze()
        assert [name.encode("utf-8", "surrogateescape") for name in frozen] == [os.fsencode(point)]
        writer = bench.write(point)
        assert writer.is_blocked()
    finally:
        thawed = real_freezer.thaw()
    assert thawed == 1
    assert writer.ended()


@pytest.mark.root
@needs_root
def test_read_only_mounts(bench: Bench, real_freezer: Freezer, tmp_path: Path) -> None:
    writable = bench.make(tmp_path / "image1", "writable")
    read_only = bench.make(tmp_path / "image2", "readonly")
    bind = tmp_path / "bind"
    bind.mkdir()
    bench.mount(writable, bind, "--bind")
    # A bind mount that takes no writes says nothing of the filesystem.
    run("mount", "-o", "remount,bind,ro", bind)
    run("mount", "-o", "remount,ro", read_only)
    try:
        assert real_freezer.freeze() == [str(bind)]
    finally:
        real_freezer.thaw()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.agent.loop_devices import OnlyBelow
from tests.process_tree import children
from phoenix_ga.agent.operations.freeze.freezer import Freezer
from pathlib import Path
directory = Path(sys.argv[2])
freezer = Freezer(print, str(directory / "run"), OnlyBelow(directory))
assert len(freezer.freeze()) == int(sys.argv[4])
if sys.argv[3] == "both":
    (watchdog,) = children()
    os.kill(watchdog, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_frozen(directory: Path, who: str, count: int = 2) -> None:
    """Freeze all below a directory in a process, and kill that: `agent`, or `both` it and its watchdog."""
    top = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED, top, directory, who, str(count)], check=False, cwd=top)


@pytest.mark.root
@needs_root
def test_recovers_after_a_kill_of_the_watchdog_too(
    bench: Bench, real_freezer: Freezer, log: list[str], tmp_path: Path
) -> None:
    outer = bench.make(tmp_path / "image", "outer", size="64M")
    inner = bench.make(outer / "image", "inner")
    kill_frozen(tmp_path, "both")
    writers = [bench.write(inner), bench.write(outer)]
    assert all(writer.is_blocked() for writer in writers)
    assert real_freezer.recover() == 2
    assert all(writer.ended() for writer in writers)
    assert log == ["an agent that died left filesystems frozen: thawed 2"]
    assert real_freezer.record.ended == "died"
    assert not (tmp_path / "run/frozen").exists()


@pytest.mark.root
@needs_root
def test_the_watchdog_thaws_after_a_kill(bench: Bench, real_freezer: Freezer, log: list[str], tmp_path: Path) -> None:
    outer = bench.make(tmp_path / "image", "outer", size="64M")
    inner = bench.make(outer / "image", "inner")
    kill_frozen(tmp_path, "agent")
    assert bench.write(inner).ended()
    assert bench.write(outer).ended()
    wait_until(lambda: (tmp_path / "run/thawed").exists())
    assert real_freezer.recover() == 0
    assert log == ["an agent that died left filesystems frozen: its watchdog thawed them"]
    assert real_freezer.record.ended == "died"
    assert real_freezer.recover() == 0
    assert len(log) == 1


@pytest.mark.root
@needs_root
def test_what_a_watchdog_thawed_before_it_was_killed_is_not_charged_to_the_next_freeze(
    bench: Bench, real_freezer: Freezer, log: list[str], tmp_path: Path
) -> None:
    points = [bench.make(tmp_path / f"image{number}", f"fs{number}") for number in range(2)]
    kill_frozen(tmp_path, "both")
    run("fsfreeze", "--unfreeze", points[0])
    assert real_freezer.recover() == 1
    assert log == ["an agent that died left filesystems frozen: thawed 1"]
    assert real_freezer.thaw(real_freezer.freeze_recorded().generation) == 2
    assert real_freezer.record.ended == "released"
