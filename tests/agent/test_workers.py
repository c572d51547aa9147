"""The worker threads: as many as there is work for, and none lost when the system has no more."""

from __future__ import annotations

import threading
import time

import pytest

from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.linux import threads as threads_module
from tests.support import wait_for


def test_jobs_run_side_by_side_up_to_the_limit_and_all_run() -> None:
    workers = Workers(4)
    running, most, done = 0, 0, 0
    lock = threading.Lock()

    def job() -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
            done += 1

    for _ in range(40):
        workers.submit(job)
    wait_for(lambda: done == 40)
    assert most == 4


def test_an_urgent_job_runs_while_all_threads_are_stuck() -> None:
    workers = Workers(2)
    stuck, urgent = threading.Event(), threading.Event()
    for _ in range(5):
        workers.submit(lambda: (stuck.wait(20), None)[1])
    workers.submit_urgent(urgent.set)
    assert urgent.wait(5)
    stuck.set()


def _fail(function: object, arguments: object) -> int:
    raise RuntimeError("can't start new thread")


def test_a_job_is_refused_where_no_thread_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(2)
    done: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threads_module, "start_new_thread", _fail)
        for submit in (workers.submit, workers.submit_urgent):
            with pytest.raises(BlockingIOError, match="cannot start another thread"):
                submit(lambda: done.append(1))
    workers.submit(lambda: done.append(2))
    wait_for(lambda: bool(done))
    assert done == [2]


def test_a_job_waits_for_the_threads_that_are_there_where_no_more_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers(2)
    done: list[int] = []
    stuck = threading.Event()
    workers.submit(lambda: (stuck.wait(20), None)[1])
    with monkeypatch.context() as patch:
        patch.setattr(threads_module, "start_new_thread", _fail)
        workers.submit(lambda: done.append(1))
        workers.submit_urgent(lambda: done.append(2))
    assert done == []
    stuck.set()
    wait_for(lambda: sorted(done) == [1, 2])


def test_a_raised_limit_helps_jobs_that_wait_already() -> None:
    workers = Workers(1)
    stuck, done = threading.Event(), threading.Event()
    workers.submit(lambda: (stuck.wait(20), None)[1])
    workers.submit(done.set)
    assert not done.wait(0.05)
    workers.limit = 2
    assert done.wait(5)
    stuck.set()


def test_a_reserved_thread_runs_urgent_jobs_if_no_other_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(1)
    stuck, done = threading.Event(), threading.Event()
    workers.submit(lambda: (stuck.wait(20), None)[1])
    workers.reserve()
    monkeypatch.setattr(threads_module, "start_new_thread", _fail)
    workers.submit_urgent(done.set)
    assert done.wait(5)
    stuck.set()


def test_a_thread_that_cannot_be_reserved_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "start_new_thread", _fail)
    with pytest.raises(BlockingIOError, match="no thread is left for urgent jobs"):
        Workers(1).reserve()
