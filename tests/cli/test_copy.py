"""cp: a file from the guest and to it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest

from phoenix_ga.cli.copy import split_guest_path
from tests.cli.conftest import Run, command_line, environment
from tests.cli.scripted_agent import ScriptedAgent


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("unix:/run/x.sock:/etc/hosts", ("unix:/run/x.sock", "/etc/hosts")),
        ("/run/x.sock:/etc/hosts", ("/run/x.sock", "/etc/hosts")),
        ("./x.sock:/etc/hosts", ("./x.sock", "/etc/hosts")),
        ("unix:/run/a:b.sock:/odd:/name", ("unix:/run/a:b.sock", "/odd:/name")),
        ("unix:x.sock:/", ("unix:x.sock", "/")),
        ("web1:/etc/hosts", ("web1", "/etc/hosts")),
        ("/etc/hosts", None),
        ("file:name", None),
        ("10:30.log", None),
        (":/x", None),
    ],
)
def test_where_guest_ends_and_path_begins(word: str, parts: tuple[str, str] | None) -> None:
    assert split_guest_path(word) == parts


@pytest.mark.parametrize("word", ["unix:/run/x.sock", "unix:/run/x.sock:hosts", "unix:x"])
def test_a_guest_without_an_absolute_path_is_no_local_file(word: str) -> None:
    with pytest.raises(click.UsageError):
        split_guest_path(word)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "from" / "a file"
    path.parent.mkdir()
    path.write_bytes(os.urandom(2_000_000))
    path.chmod(0o710)
    return path


def assert_same(copy: Path, source: Path) -> None:
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_mode & 0o7777 == 0o710


@pytest.mark.parametrize("prefix", ["unix:", ""])
def test_both_ways(run: Run, endpoint: str, source: Path, tmp_path: Path, prefix: str) -> None:
    guest = prefix + endpoint.partition(":")[2]
    there, back = tmp_path / "there", tmp_path / "back"
    for words in ((source, f"{guest}:{there}"), (f"{guest}:{there}", back)):
        result = run("cp", *words)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert_same(there, source)
    assert_same(back, source)


def test_a_directory_gets_a_file_of_the_same_name(run: Run, endpoint: str, source: Path, tmp_path: Path) -> None:
    for name in ("there", "back"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("there")
    assert run("cp", source, f"{endpoint}:{tmp_path}/link").returncode == 0
    assert run("cp", f"{endpoint}:{tmp_path}/there/a file", tmp_path / "back").returncode == 0
    assert_same(tmp_path / "there" / "a file", source)
    assert_same(tmp_path / "back" / "a file", source)


def test_a_result_as_json(run: Run, endpoint: str, source: Path, tmp_path: Path) -> None:
    result = json.loads(run("--json", "cp", f"{endpoint}:{source}", tmp_path / "copy").stdout)
    assert result["bytes"] == 2_000_000
    assert result["verified"] is True


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("GUEST:/nowhere", "copy"), "the guest refused: file-get: /nowhere"),
        (("GUEST:/etc", "copy"), "Is a directory"),
        (("nowhere", "GUEST:/tmp/never"), "nowhere: No such file"),
        (("/etc", "GUEST:/tmp/never"), "is a directory"),
        (("/etc/hosts", "GUEST:/nowhere/"), "the guest refused"),
        (("GUEST:/etc/hosts", "no/directory"), "no/directory: No such file"),
    ],
)
def test_what_cannot_be_copied(
    run: Run, endpoint: str, words: tuple[str, str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("cp", *(word.replace("GUEST", endpoint) for word in words))
    assert result.returncode == 1
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_an_interrupted_copy_leaves_no_half_file(scripted: ScriptedAgent, tmp_path: Path) -> None:
    scripted.answers = {"file-get": {"stream": 5, "size": 10**9, "mode": 0o644, "mtime": 0}}
    process = subprocess.Popen(
        command_line("cp", f"{scripted.endpoint}:/x", str(tmp_path / "local")),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path) == [] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.listdir(tmp_path) != []
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.strip()) == (130, "")
    assert os.listdir(tmp_path) == []


def test_progress_is_shown_on_a_terminal(endpoint: str, source: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line("cp", f"{endpoint}:{source}", str(tmp_path / "copy")),
        stderr=theirs,
        env=environment(TERM="xterm"),
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        # The other end of a terminal that was closed is an I/O error.
        pass
    os.close(ours)
    assert process.wait(20) == 0
    assert b"a file" in shown
    assert b"/s" in shown
