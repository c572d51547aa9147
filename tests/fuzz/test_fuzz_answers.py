"""phoenixctl bears whatever a guest answers, with every verb."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from phoenix_ga.cli.program import program
from phoenix_ga.client import resolve
from tests.fuzz import rounds
from tests.fuzz.answers import HostileGuest

GUEST = "unix:/fuzzed.sock"
RUNS = 20_000
PARTS = 5
# Descriptors that libraries open once.
MORE_DESCRIPTORS = 6
# How many runs leave no more memory than the first, in objects.
OBJECTS_MAX = 30_000

# What is typed, by verb, if it is more than the verb and the guest. {dir} is a directory of this machine.
COMMANDS = {
    "attach": ["attach G 4711"],
    "cat": ["cat G:/x", "cat G:/x G:/y"],
    "check": ["check all G", "check disk G", "check all G --piggyback"],
    "chmod": ["chmod 600 G:/x"],
    "chown": ["chown 1:1 G:/x"],
    "commands": ["commands G", "--json commands G"],
    "cp": ["cp G:/x {dir}/in", "cp -r G:/x {dir}/in", "cp {dir}/out/file G:/x", "cp -r {dir}/out G:/x"],
    "du": ["du G:/x", "--json du G:/x"],
    "exec": ["exec G -- true", "exec -d G -- true", "--json exec G true"],
    "find": ["find G:/x", "--json find G:/x"],
    "freeze": ["freeze G"],
    "freeze-status": ["freeze-status G"],
    "info": ["info G", "--json info G"],
    "ip": ["ip G addr", "ip G route", "ip G addr add 192.0.2.1/24 dev eth0"],
    "kill": ["kill G 4711", "kill G 4711 4712"],
    "ln": ["ln -s y G:/x"],
    "ls": ["ls G:/x", "ls -l G:/x", "--json ls G:/x", "ls G:/x/*"],
    "md5sum": ["md5sum G:/x"],
    "metrics": ["metrics G", "--json metrics G", "metrics --prometheus G", "metrics --openmetrics G"],
    "mkdir": ["mkdir G:/x"],
    "mv": ["mv G:/x G:/y"],
    "ping": ["ping -c 1 G", "--json ping -c 1 G"],
    "processes": ["processes G"],
    "ports": ["ports G", "--json ports G"],
    "proxy": ["proxy G /run/x.sock"],
    "ps": ["ps G", "--json ps G"],
    "raw": ["raw G ping", "raw G guest-get-osinfo", "raw G file-stat path=/x"],
    "rm": ["rm G:/x", "rm -r G:/x"],
    "services": ["services G", "services G x", "services G x start"],
    "sha256sum": ["sha256sum G:/x"],
    "stat": ["stat G:/x", "--json stat G:/x"],
    "tail": ["tail G:/x", "tail -f G:/x"],
    "tee": ["tee G:/x"],
    "thaw": ["thaw G"],
    "touch": ["touch G:/x"],
    "truncate": ["truncate -s 0 G:/x"],
}
# They need a terminal, run until they are stopped, or ask no guest by its endpoint.
LEFT_OUT = {"completion", "edit", "exporter", "forward", "frozen", "guests", "hub", "sftp", "shell", "ssh-config"}
LEFT_OUT |= {"help", "mount", "stdio", "umount"}
# Their output is the guest's bytes.
RAW = {"cat", "exec", "attach", "journal", "proxy", "tail"}
VERBS = [verb for verb in program.list_commands(click.Context(program)) if verb not in LEFT_OUT]
TYPED = [command for verb in VERBS for command in COMMANDS.get(verb, [f"{verb} G"])]


def test_the_verbs_that_are_typed_exist() -> None:
    assert {*COMMANDS, *LEFT_OUT} <= set(program.list_commands(click.Context(program)))


def problem_of(result: Any, verb: str, directory: Path) -> str:
    """Return what is wrong with a run, or an empty string."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"unexpected {result.exception!r}"
    if "Traceback" in result.output or "never retrieved" in result.output:
        return f"traceback: {result.output[-500:]}"
    if verb not in RAW and any(mark in result.output for mark in ("\x1b", "\x9b", "\u202e", "\x07")):
        return f"control characters in the output: {result.output[:500]!r}"
    if {path.name for path in directory.iterdir()} != {"in", "out"}:
        return f"files outside of the destination: {[*directory.iterdir()]}"
    return ""


def state() -> tuple[int, int]:
    """Return how many threads and file descriptors this process has."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def settles(threads: int, descriptors: int) -> bool:
    """Return whether no more threads and descriptors than these are left within a time."""
    deadline = time.monotonic() + 30
    while (left := state())[0] > threads or left[1] > descriptors:
        if time.monotonic() > deadline:
            return False
        gc.collect()
        time.sleep(0.01)
    return True


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    inner = tmp_path / "parent" / "work"
    (inner / "out" / "deep").mkdir(parents=True)
    (inner / "out" / "file").write_bytes(b"content" * 1000)
    (inner / "in").mkdir()
    yield inner
    assert [path.name for path in (tmp_path / "parent").iterdir()] == ["work"]


def fuzz(directory: Path, monkeypatch: pytest.MonkeyPatch, count: int, seed: int) -> None:
    threads, descriptors = state()
    objects = 0
    for number in rounds.rounds(count):
        chance = rounds.chance(seed, number)

        async def connect(endpoint: str, chance: Any = chance) -> HostileGuest:
            return HostileGuest(chance)

        monkeypatch.setattr(resolve, "open_transport", connect)
        typed = TYPED[number % len(TYPED)]
        words = [word.replace("G", GUEST).format(dir=directory) for word in typed.split()]
        result = CliRunner().invoke(program, words, input="input\n" * chance.choice((0, 3, 5000)))
        problem = problem_of(result, typed.removeprefix("--json ").split()[0], directory)
        if not problem and not settles(threads + 2, descriptors + MORE_DESCRIPTORS):
            problem = f"threads and descriptors: {threads, descriptors}, then {state()}: {threading.enumerate()}"
        if problem:
            rounds.fail(seed, number, problem, (typed, result.exc_info, result.output), directory)
        if number == count // 2:
            gc.collect()
            objects = len(gc.get_objects())
    gc.collect()
    assert not objects or len(gc.get_objects()) < objects + OBJECTS_MAX


@pytest.mark.timeout(300)
def test_phoenixctl_bears_what_a_guest_answers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(directory, monkeypatch, RUNS // 100, rounds.seed())


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_phoenixctl_bears_20000_answers(directory: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    fuzz(directory, monkeypatch, RUNS // PARTS, rounds.seed() + part)
