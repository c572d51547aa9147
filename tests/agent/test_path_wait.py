"""Waiting for a device that is not there yet."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_ga.agent.config import load_config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.linux import inotify
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.options.command_line import parse_command_line
from phoenix_ga.agent.ports import device
from phoenix_ga.agent.ports.device import DevicePort
from phoenix_ga.agent.ports.path_wait import PathWait
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.agent.protocol.scheduler import Scheduler


def test_a_directory_that_comes_just_while_the_wait_is_set_up_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a" / "b"
    add_watch = inotify.inotify_add_watch

    def make_it_too_late(fd: int, path: bytes, mask: int) -> bool:
        watched = add_watch(fd, path, mask)
        if path == os.fsencode(directory):
            directory.mkdir(parents=True, exist_ok=True)
        return watched

    monkeypatch.setattr(inotify, "inotify_add_watch", make_it_too_late)
    loop = Loop()
    told: list[bool] = []

    def changed() -> None:
        told.append(True)
        loop.stop()

    PathWait(loop, str(directory / "port"), changed)
    (directory / "port").touch()
    loop.call_later(5, loop.stop)
    loop.run()
    assert told == [True]


def no_instance(patch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise OSError(errno.EMFILE, "the kernel has no inotify instance left")

    patch.setattr(inotify, "inotify_init", fail)


def no_watch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inotify, "inotify_add_watch", lambda fd, path, mask: False)


@pytest.mark.parametrize("exhaust", [no_instance, no_watch])
def test_a_port_is_tried_again_if_the_kernel_has_no_inotify_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exhaust: Callable[[pytest.MonkeyPatch], None]
) -> None:
    exhaust(monkeypatch)
    monkeypatch.setattr(device, "RETRY_PAUSE", 0.05)
    loop, log, config = Loop(), Log(str(tmp_path / "log")), load_config(parse_command_line([]))
    context = Context(config, Policy(), log, Handles(1), loop, lambda: None)
    scheduler = Scheduler(Dispatcher(context, NATIVE, lambda: QGA), loop, Workers(1))
    port = DevicePort(str(tmp_path / "port"), scheduler, lambda: None)
    log.start()
    port.start()
    master, slave = pty.openpty()
    (tmp_path / "port").symlink_to(os.ttyname(slave))
    loop.call_later(0.3, loop.stop)
    loop.run()
    port.close()
    os.close(master)
    os.close(slave)
    log.close()
    assert f"{tmp_path}/port: open" in (tmp_path / "log").read_text()


def test_whoever_has_a_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "port"
    path.touch()
    loop = Loop()
    logged = make_log(tmp_path, loop, path, monkeypatch)
    with path.open() as opened, subprocess.Popen(["sleep", "60"], stdin=opened) as user:
        loop.call_later(0, logged.start)
        watch_log(loop, tmp_path, f"it is open in sleep (process {user.pid})")
        loop.call_later(20, loop.stop)
        loop.run()
        user.kill()
    text = (tmp_path / "log").read_text()
    assert "waiting for it: Device or resource busy" in text
    assert f"{path}: it is open in sleep (process {user.pid})" in text


def make_log(tmp_path: Path, loop: Loop, path: Path, monkeypatch: pytest.MonkeyPatch) -> DevicePort:
    """Return a port that is busy, and whose log goes to a file."""
    config = load_config(parse_command_line(["-p", str(path)]))
    log = Log(str(tmp_path / "log"), debug=False)
    log.start()
    context = Context(config, Policy((), (), read_only=False), log, Handles(1), loop, lambda: None)
    scheduler = Scheduler(Dispatcher(context, NATIVE, lambda: QGA), loop, Workers(1))

    def refuse(port: DevicePort) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(DevicePort, "_open", refuse)
    return DevicePort(str(path), scheduler, lambda: None)


def watch_log(loop: Loop, tmp_path: Path, text: str) -> None:
    """Stop the loop when the text is in the log."""
    if text in (tmp_path / "log").read_text():
        loop.stop()
    else:
        loop.call_later(0.05, lambda: watch_log(loop, tmp_path, text))
