"""cp: a file from the guest and to it."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest

from phoenix_ga.cli.paths import split_guest_path
from phoenix_ga.client import CommandError
from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent
from tests.support import AgentProcess, wait_for
from tests.xattrs import OF_ROOT, OF_USERS, attributes, set_all


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
    path.parent.mkdir(exist_ok=True)
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
        (("GUEST:/nowhere", "copy"), "GUEST: /nowhere: No such file or directory"),
        (("GUEST:/etc", "copy"), "GUEST: /etc: is a directory; use -r to copy it"),
        (("nowhere", "GUEST:/tmp/never"), "this host: nowhere: No such file"),
        (("/etc", "GUEST:/tmp/never"), "this host: /etc: is a directory; use -r to copy it"),
        (("/etc/hosts", "GUEST:/nowhere/"), "GUEST: /nowhere/: No such file or directory"),
        (("GUEST:/etc/hosts", "no/directory"), "this host: no/directory: No such file"),
        (("GUEST:/etc/hosts", "GUEST:/etc/passwd", "no-directory"), "this host: no-directory: not a directory"),
        (("-r", "GUEST:/nowhere", "copy"), "GUEST: /nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be_copied(
    run: Run, endpoint: str, words: tuple[str, str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("cp", *(word.replace("GUEST", endpoint) for word in words))
    assert result.returncode == 1
    assert hint.replace("GUEST", endpoint) in result.stderr
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_an_interrupted_copy_leaves_no_half_file(scripted: ScriptedAgent, tmp_path: Path) -> None:
    scripted.answers = {"file-get": {"stream": 5, "size": 10**9, "mode": 0o644, "mtime": 0, "uid": 0, "gid": 0}}
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
    lines = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).split(b"\n")
    assert any(b"a file" in line and b"1.9 MiB of 1.9 MiB" in line and b"MiB/s" in line for line in lines), shown
    assert b" MB" not in shown
    assert b"1.9 MiB in " in shown


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "from" / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("content")
    (root / "sub" / "link").symlink_to("file")
    return root


def assert_same_tree(copy: Path) -> None:
    assert (copy / "sub" / "file").read_text() == "content"
    assert os.readlink(copy / "sub" / "link") == "file"
    assert os.listdir(copy) == ["sub"]


def test_a_tree_both_ways_below_a_directory_or_as_it(run: Run, endpoint: str, tree: Path, tmp_path: Path) -> None:
    for name in ("there", "back"):
        (tmp_path / name).mkdir()
    for source, target in (
        (tree, f"{endpoint}:{tmp_path}/there"),
        (tree, f"{endpoint}:{tmp_path}/there/new"),
        (f"{endpoint}:{tree}", tmp_path / "back"),
        (f"{endpoint}:{tree}/", tmp_path / "back" / "new"),
    ):
        result = run("cp", "-r", source, target)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for side in ("there", "back"):
        assert sorted(os.listdir(tmp_path / side)) == ["new", "tree"]
        assert_same_tree(tmp_path / side / "new")
        assert_same_tree(tmp_path / side / "tree")


def test_what_is_in_a_directory_goes_into_another_one(run: Run, endpoint: str, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    assert run("cp", "-r", f"{endpoint}:{tree}/.", tmp_path / "back").returncode == 0
    assert_same_tree(tmp_path / "back")


def test_many_sources_files_and_directories(
    run: Run, endpoint: str, tree: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    words = (tree, f"{endpoint}:{source}", source.parent, f"{endpoint}:{tmp_path}/there/")
    result = run("--json", "cp", "-r", *words)
    assert (result.returncode, result.stderr) == (0, "")
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 3
    assert sorted(os.listdir(tmp_path / "there")) == ["a file", "from", "tree"]
    assert_same_tree(tmp_path / "there" / "tree")
    assert_same_tree(tmp_path / "there" / "from" / "tree")
    assert_same(tmp_path / "there" / "a file", source)


def test_what_fails_alone_does_not_keep_back_the_others(
    run: Run, endpoint: str, tree: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "back").mkdir()
    result = run("cp", *(f"{endpoint}:{path}" for path in ("/nowhere", tree, source)), tmp_path / "back")
    assert result.returncode == 1
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["phoenixctl"] * 2
    assert os.listdir(tmp_path / "back") == ["a file"]


def test_between_guests_through_the_host(run: Run, endpoint: str, tree: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    other = endpoint.partition(":")[2]
    result = run("cp", "-r", f"{endpoint}:{tree}", f"{endpoint}:{source}", f"{other}:{tmp_path}/there")
    assert (result.returncode, result.stderr) == (0, "")
    assert_same_tree(tmp_path / "there" / "tree")
    assert_same(tmp_path / "there" / "a file", source)


def test_a_directory_is_not_copied_into_itself(run: Run, endpoint: str, tree: Path) -> None:
    result = run("cp", "-r", f"{endpoint}:{tree}", f"{endpoint}:{tree}/sub")
    assert result.returncode == 2
    assert "is inside" in result.stderr


def test_what_is_left_out_or_missing_is_said_on_stderr(run: Run, endpoint: str, tree: Path, tmp_path: Path) -> None:
    (tree / "out\x1b").symlink_to("/etc/passwd")
    result = run("cp", "-r", f"{endpoint}:{tree}", tmp_path / "copy")
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert "out\\x1b: a link that leads out of the directory, to /etc/passwd" in result.stderr
    (tmp_path / "outside").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sub").symlink_to("../outside")
    (tree / "out\x1b").unlink()
    result = run("cp", "-r", f"{endpoint}:{tree}/.", tmp_path / "other")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("some of it is missing")
    assert result.stderr.count("it would be outside of the directory") == 3
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize("direction", ["get", "put"])
def test_an_interrupted_copy_of_a_tree_cleans_up(endpoint: str, tmp_path: Path, direction: str) -> None:
    (tmp_path / "from").mkdir()
    with (tmp_path / "from" / "very big").open("wb") as file:
        file.truncate(1 << 34)
    source, target = f"{tmp_path}/from", f"{tmp_path}/copy"
    words = (f"{endpoint}:{source}", target) if direction == "get" else (source, f"{endpoint}:{target}")
    process = subprocess.Popen(command_line("cp", "-r", *words), stderr=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: os.path.isdir(target))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.strip()) == (130, "")
    assert not os.path.isdir(target) or os.listdir(target) == []


@pytest.mark.parametrize("direction", ["get", "put"])
def test_a_copy_that_was_killed_goes_on_where_it_stopped(
    run: Run, endpoint: str, tmp_path: Path, direction: str
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    source, target = tmp_path / "from" / "big", tmp_path / "to" / "big"
    source.write_bytes(os.urandom(1_000_000) * 150)
    words = [f"{endpoint}:{source}", str(target)] if direction == "get" else [str(source), f"{endpoint}:{target}"]

    def parts() -> list[Path]:
        return list((tmp_path / "to").glob(".big.*.phoenix-part"))

    def has_come() -> bool:
        return any(part.stat().st_size > 2_000_000 for part in parts())

    process = subprocess.Popen(command_line("cp", "--resume", *words), env=environment())
    wait_for(has_come)
    process.kill()
    process.wait()
    assert not target.exists()
    result = run("--json", "cp", "--resume", *words)
    assert result.returncode == 0, result.stderr
    assert 2_000_000 < json.loads(result.stdout)["resumed"] < 150_000_000
    assert target.read_bytes() == source.read_bytes()
    assert parts() == []


@pytest.mark.parametrize("more", [["-r"], ["--verify", "none"]])
def test_resume_is_for_single_verified_files(run: Run, endpoint: str, more: list[str]) -> None:
    result = run("cp", "--resume", *more, f"{endpoint}:/etc/hosts", "hosts")
    assert (result.returncode, "--resume works for single" in result.stderr) == (2, True)


def test_resume_is_not_for_copies_between_guests(run: Run, endpoint: str) -> None:
    result = run("cp", "--resume", f"{endpoint}:/etc/hosts", f"{endpoint}:/tmp/hosts")
    assert (result.returncode, "not work between guests" in result.stderr) == (2, True)


@pytest.mark.parametrize("word", ["web1:", "web1:tmp/", "alias:x", "unix:/run/x.sock:tmp"])
def test_a_relative_path_in_a_guest_is_refused(run: Run, tmp_path: Path, word: str) -> None:
    (tmp_path / "phoenix").mkdir()
    names = "sources = []\n[guests]\nweb1 = '/run/web1.sock'\nalias = '/run/web2.sock'\n"
    (tmp_path / "phoenix" / "config.toml").write_text(names)
    for words in (("/etc/hosts", word), (word, "x")):
        result = run("cp", *words, XDG_CONFIG_HOME=tmp_path)
        assert (result.returncode, "must be absolute" in result.stderr) == (2, True)


def test_a_trailing_slash_means_a_directory(run: Run, endpoint: str, tmp_path: Path) -> None:
    result = run("cp", f"{endpoint}:/etc/hosts", f"{tmp_path}/new/")
    assert result.stderr == f"phoenixctl: this host: {tmp_path}/new/: No such file or directory\n"
    result = run("cp", "/etc/hosts", f"{endpoint}:{tmp_path}/new/")
    assert result.stderr == f"phoenixctl: {endpoint}: {tmp_path}/new/: No such file or directory\n"
    assert os.listdir(tmp_path) == []


def test_an_error_between_guests_names_the_right_one(run: Run, endpoint: str, scripted: ScriptedAgent) -> None:
    scripted.answers = {"file-stat": CommandError("no", 2), "file-put": CommandError("/x: disk full", 28)}
    scripted.answers["file-get"] = CommandError("/etc/hosts: damaged", 5)
    result = run("cp", f"{endpoint}:/etc/hosts", f"{scripted.endpoint}:/x")
    assert result.stderr == f"phoenixctl: {scripted.endpoint}: /x: disk full\n"
    result = run("cp", f"{scripted.endpoint}:/etc/hosts", f"{endpoint}:/tmp/never")
    assert result.stderr == f"phoenixctl: {scripted.endpoint}: /etc/hosts: damaged\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_copy_that_a_signal_ends_leaves_no_half_file(
    scripted: ScriptedAgent, tmp_path: Path, number: signal.Signals
) -> None:
    scripted.answers = {"file-get": {"stream": 5, "size": 10**9, "mode": 0o644, "mtime": 0, "uid": 0, "gid": 0}}
    command = command_line("cp", f"{scripted.endpoint}:/x", str(tmp_path / "local"))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: os.listdir(tmp_path) != [])
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.strip()) == (128 + number, "")
    assert os.listdir(tmp_path) == []


def test_patterns_are_expanded_in_the_guest(run: Run, endpoint: str, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    for name in ("a.txt", "b.txt", "c.log", "star*.log"):
        (there / name).write_text(name)
    assert run("cp", f"{endpoint}:{there}/[ab].*", here).returncode == 0
    assert run("cp", f"{endpoint}:{there}/star\\*.log", here).returncode == 0
    assert sorted(path.name for path in here.iterdir()) == ["a.txt", "b.txt", "star*.log"]
    result = run("cp", f"{endpoint}:{there}/*.gz", here)
    assert (result.returncode, "*.gz: No such file" in result.stderr) == (1, True)
    several = run("cp", f"{endpoint}:{there}/*.txt", here / "a.txt")
    assert (several.returncode, "several sources" in several.stderr) == (1, True)


def test_a_guest_cannot_choose_the_names_of_files_on_the_host(
    run: Run, scripted: ScriptedAgent, tmp_path: Path
) -> None:
    scripted.answers["file-glob"] = ["/srv/.bashrc"]
    scripted.answers["file-stat"] = CommandError("No such file", errno.ENOENT)
    result = run("cp", f"{scripted.endpoint}:/srv/*.txt", tmp_path)
    assert (result.returncode, "does not match the pattern" in result.stderr) == (125, True)
    assert not (tmp_path / ".bashrc").exists()


@pytest.mark.root
@pytest.mark.parametrize("recursive", [False, True])
def test_attributes_are_kept_with_p(run: Run, endpoint: str, tmp_path: Path, recursive: bool) -> None:
    (tmp_path / "from").mkdir()
    file = tmp_path / "from" / "file"
    file.write_text("content")
    os.chown(file, 4711, 4712)
    file.chmod(0o640)
    os.utime(file, (0, 1_000_000_000))
    words = ("-rp", f"{endpoint}:{file.parent}") if recursive else ("-p", f"{endpoint}:{file}")
    (tmp_path / "to").mkdir()
    assert run("cp", *words, tmp_path / "to").returncode == 0
    (copy,) = (path for path in (tmp_path / "to").rglob("file"))
    status = copy.stat()
    assert (status.st_uid, status.st_gid, status.st_mtime, status.st_mode & 0o777) == (4711, 4712, 1e9, 0o640)


@pytest.mark.root
def test_attributes_are_kept_between_guests(run: Run, endpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    os.chown(file, 4711, 4712)
    os.utime(file, (0, 1_000_000_000))
    with AgentProcess(tmp_path) as other:
        assert run("cp", "-p", f"{endpoint}:{file}", f"unix:{other.socket_path}:{tmp_path}/copy").returncode == 0
    status = (tmp_path / "copy").stat()
    assert (status.st_uid, status.st_gid, status.st_mtime) == (4711, 4712, 1e9)


def test_a_file_is_copied_to_standard_output(run: Run, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("hello\n")
    result = run("cp", f"{endpoint}:{tmp_path}/source", "/dev/stdout")
    assert (result.returncode, result.stdout) == (0, "hello\n"), result.stderr


@pytest.mark.root
@pytest.mark.parametrize("recursive", [False, True])
def test_extended_attributes_are_kept_if_asked_for_and_else_told_once(
    run: Run, endpoint: str, tmp_path: Path, recursive: bool
) -> None:
    (tmp_path / "from").mkdir()
    for name in ("a", "b"):
        (tmp_path / "from" / name).write_text("content")
        set_all(tmp_path / "from" / name, OF_USERS, OF_ROOT)
    words = ["-r", f"{endpoint}:{tmp_path}/from/."] if recursive else [f"{endpoint}:{tmp_path}/from/*"]
    (tmp_path / "to").mkdir()
    for option, kept, note in (
        ([], {}, "extended attributes left out"),
        (["--xattrs"], OF_USERS, "security.capability left out"),
        (["--all-xattrs"], OF_USERS | OF_ROOT, ""),
    ):
        result = run("cp", *option, *words, tmp_path / "to")
        assert (result.returncode, len(result.stderr.splitlines())) == (0, bool(note)), result.stderr
        assert note in result.stderr
        assert attributes(tmp_path / "to" / "b") == kept
