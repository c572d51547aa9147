"""`ls`, `stat`, `mkdir`, `chmod`, `chown` and `md5sum`, beside the programs whose names they have."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pty
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.cli.digest import digest_timeout
from phoenix_ga.client import SILENCE, CommandError
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run, command_line, environment
from tests.cli.test_exit_status import EVIL, assert_harmless, assert_one_line
from tests.ends.agent import ScriptedAgent, listed


def program(*words: str | Path) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with something of each kind."""
    top = tmp_path / "tree"
    (top / "below" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "big").write_bytes(b"x" * 100_000)
    (top / "program").write_text("#!/bin/sh")
    (top / "program").chmod(0o4755)
    (top / ".hidden").touch()
    (top / "link").symlink_to("below")
    (top / "dangling").symlink_to("no where")
    (top / "below" / "file").write_text("text")
    os.mkfifo(top / "fifo")
    for number, name in enumerate(("below", "program", "big", "fifo", "empty")):
        os.utime(top / name, (0, 1_000_000_000 + number))
    return top


@pytest.mark.parametrize("flags", ["", "a", "r", "t", "tr", "S", "Sr", "d", "n", "R", "aR", "1", "1a"])
def test_ls_prints_what_ls_prints(run: Run, endpoint: str, tree: Path, flags: str) -> None:
    result = run("ls", *([f"-{flags}"] if flags else []), f"{endpoint}:{tree}")
    assert result.returncode == 0, result.stderr
    ours = f"-{flags.replace('a', 'A')}" if flags else "-l"
    theirs = program("ls", "-l", "--time-style=+%Y-%m-%d %H:%M", *([ours] if "1" not in flags else ["-1"]), tree)
    if "1" in flags:
        theirs = program("ls", ours, tree)
    assert [line.split() for line in result.stdout.splitlines()] == [line.split() for line in theirs.splitlines()]


def test_ls_shows_what_it_is_asked_for_when_that_is_a_file_or_a_link(run: Run, endpoint: str, tree: Path) -> None:
    lines = run("ls", f"{endpoint}:{tree}/big", f"{endpoint}:{tree}/dangling").stdout.splitlines()
    assert lines[0].endswith(f" {tree}/big")
    assert lines[1].endswith(f" {tree}/dangling -> no where")
    followed = run("ls", "-1", f"{endpoint}:{tree}/link")
    assert followed.stdout == "deeper\nfile\n"
    assert run("ls", "-1d", f"{endpoint}:{tree}/link").stdout == f"{tree}/link\n"


def test_ls_as_json_has_an_object_for_each_entry(run: Run, endpoint: str, tree: Path) -> None:
    value = json.loads(run("--json", "ls", "-R", f"{endpoint}:{tree}/below").stdout)
    assert value["path"] == f"{tree}/below"
    assert [entry["path"] for entry in value["entries"]] == [f"{tree}/below/deeper", f"{tree}/below/file"]
    assert value["entries"][1]["size"] == 4
    assert value["entries"][1]["user"] == pwd.getpwuid(os.geteuid()).pw_name


def test_a_path_that_is_not_there_does_not_hold_back_the_others(run: Run, endpoint: str, tree: Path) -> None:
    result = run("ls", "-1", f"{endpoint}:{tree}/nowhere", f"{endpoint}:{tree}/below")
    assert_one_line(result, 1)
    assert f"{tree}/nowhere: No such file or directory" in result.stderr
    assert result.stdout.endswith("deeper\nfile\n")


def test_a_guest_that_does_not_answer_is_asked_once(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["file-stat"] = SILENCE
    assert_one_line(run("--timeout", 0.3, "stat", *[f"{scripted.endpoint}:/{name}" for name in "abc"]), 124)
    assert scripted.asked == ["file-stat"]


def test_ls_goes_on_where_a_directory_below_is_refused(run: Run, scripted: ScriptedAgent) -> None:
    status = BY_NAME["file-stat"].examples[0].answer
    below = {**status, "name": "below", "isdir": True, "stat": {**status["stat"], "Mode": 0o40755}}
    first = listed(below, status)
    scripted.answers["file-stat"] = {**below, "name": "top"}
    scripted.answers["directory-entries"] = lambda request: (
        first(request) if request.arguments["path"] == "/top" else CommandError("/top/below: Permission denied", 13)
    )
    result = run("ls", "-1R", f"{scripted.endpoint}:/top")
    assert_one_line(result, 1)
    assert result.stdout == "/top:\nbelow\nhello.txt\n"


def test_a_tree_without_an_end_comes_to_one(run: Run, scripted: ScriptedAgent) -> None:
    status = BY_NAME["file-stat"].examples[0].answer
    below = {**status, "name": "x" * 200, "isdir": True, "stat": {**status["stat"], "Mode": 0o40755}}
    odd = [{**below, "name": name} for name in ("..", ".", "", "/", "../..")]
    scripted.answers = {"file-stat": below, "directory-entries": listed(below, *odd)}
    result = run("ls", "-1aR", f"{scripted.endpoint}:/top")
    assert result.returncode == 0, result.stderr
    assert scripted.asked.count("directory-entries") < 30


@pytest.mark.parametrize("json", [[], ["--json"]])
@pytest.mark.parametrize("number", [0, -1, 2**64 - 1, -(2**63)])
def test_whatever_a_guest_says_of_a_file_is_harmless(
    run: Run, scripted: ScriptedAgent, json: list[str], number: int
) -> None:
    status = {
        name: number if isinstance(value, int) else {"Sec": number, "Nsec": number}
        for name, value in BY_NAME["file-stat"].examples[0].answer["stat"].items()
    }
    entry: dict[str, Any] = {"name": EVIL, "isdir": True, "stat": status}
    entry.update(user=EVIL, group=EVIL, target=EVIL)
    scripted.answers = {"file-stat": entry, "directory-entries": listed(entry), "get-file-md5sum": EVIL}
    for words in (["ls"], ["ls", "-R"], ["stat"], ["md5sum"]):
        result = run(*json, *words, f"{scripted.endpoint}:/top")
        assert result.returncode == 0, result.stderr
        assert_harmless(result.stdout + result.stderr)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_names_are_coloured_on_a_terminal_unless_it_wants_none(
    endpoint: str, tree: Path, no_color: str, coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            command_line("ls", f"{endpoint}:{tree}"), stdout=theirs, env=environment(NO_COLOR=no_color, TERM="xterm")
        )
        process.wait(20)
        output = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\x1b[34m\x1b[1mbelow\x1b[0m" in output) == coloured


def test_a_reader_that_leaves_early_is_no_error(endpoint: str) -> None:
    words = " ".join(command_line("ls", "-R", f"{endpoint}:/usr/lib/python3"))
    result = subprocess.run(
        ["sh", "-c", f"{words} | head -1"], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert (result.stdout, result.stderr) == ("/usr/lib/python3:\n", "")


@pytest.mark.parametrize("name", ["big", "link", "fifo", "program"])
def test_stat_tells_what_stat_tells(run: Run, endpoint: str, tree: Path, name: str) -> None:
    text = run("stat", f"{endpoint}:{tree}/{name}").stdout
    form = "Size: %s|Blocks: %b|IO Block: %o|Inode: %i|Links: %h|(%04a/%A)|Modify: %y|Change: %z"
    for part in program("stat", "-c", form, tree / name).strip().split("|"):
        assert " ".join(part.split()) in " ".join(text.split())
    assert ("-> below" in text) == (name == "link")
    assert "directory" in run("stat", "-L", f"{endpoint}:{tree}/link").stdout


def test_stat_of_a_device_has_its_numbers(run: Run, endpoint: str) -> None:
    assert "Device type: 1,3" in run("stat", f"{endpoint}:/dev/null").stdout
    assert " 1, 3 " in run("ls", f"{endpoint}:/dev/null").stdout


def test_mkdir_makes_what_is_not_there(run: Run, endpoint: str, tmp_path: Path) -> None:
    assert run("mkdir", f"{endpoint}:{tmp_path}/one", f"{endpoint}:{tmp_path}/two").returncode == 0
    assert (tmp_path / "two").stat().st_mode & 0o7777 == 0o755
    assert "File exists" in run("mkdir", f"{endpoint}:{tmp_path}/one").stderr
    assert "No such file" in run("mkdir", f"{endpoint}:{tmp_path}/a/b").stderr
    assert (
        run("mkdir", "-p", "-m", "g+s,o=", f"{endpoint}:{tmp_path}/a/b", f"{endpoint}:{tmp_path}/one").returncode == 0
    )
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o2770


def test_chmod_takes_octal_and_symbolic_modes(run: Run, endpoint: str, tree: Path) -> None:
    for mode, expected in (("640", 0o640), ("go=u,o-w", 0o664), ("-w", 0o464), ("u+rwX", 0o664)):
        result = run("chmod", mode, f"{endpoint}:{tree}/big")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert (tree / "big").stat().st_mode & 0o7777 == expected
    shown = run("--json", "chmod", "u=rwX,g=u", f"{endpoint}:{tree}/link").stdout
    assert json.loads(shown) == {"path": f"{tree}/link", "mode": "0775"}


@pytest.mark.root
def test_chown_takes_names_and_numbers(run: Run, endpoint: str, tree: Path) -> None:
    daemon, tty = pwd.getpwnam("daemon").pw_uid, grp.getgrnam("tty").gr_gid
    for owner, expected in (("daemon", (daemon, 0)), (":tty", (daemon, tty)), ("1234:0", (1234, 0))):
        assert run("chown", owner, f"{endpoint}:{tree}/big").returncode == 0
        assert ((tree / "big").stat().st_uid, (tree / "big").stat().st_gid) == expected
    assert_one_line(run("chown", "nobody-of-this-name", f"{endpoint}:{tree}/big"), 1)


def test_with_recursive_the_program_of_the_guest_does_it(run: Run, endpoint: str, tree: Path) -> None:
    (tree / "below" / "program").touch(0o755)
    result = run("chmod", "-R", "u=rwX,go=", f"{endpoint}:{tree}/below", f"{endpoint}:{tree}/big")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    modes = {name: (tree / name).stat().st_mode & 0o7777 for name in ("below", "below/file", "below/program", "big")}
    assert modes == {"below": 0o700, "below/file": 0o600, "below/program": 0o700, "big": 0o600}
    value = json.loads(run("--json", "chown", "-R", f"{os.geteuid()}", f"{endpoint}:{tree}/below").stdout)
    assert value == {"path": f"{tree}/below", "user": str(os.geteuid()), "group": ""}
    missing = run("chmod", "-R", "700", f"{endpoint}:{tree}/nowhere")
    assert_one_line(missing, 1)
    assert f"cannot access '{tree}/nowhere': No such file or directory" in missing.stderr


def test_a_link_below_leads_no_recursive_change_out_of_the_tree(run: Run, endpoint: str, tree: Path) -> None:
    outside = tree.parent / "outside"
    outside.mkdir(0o700)
    (tree / "below" / "out").symlink_to(outside)
    assert run("chmod", "-R", "755", f"{endpoint}:{tree}/below").returncode == 0
    assert outside.stat().st_mode & 0o7777 == 0o700


def test_md5sum_prints_what_md5sum_prints(run: Run, endpoint: str, tree: Path) -> None:
    assert run("md5sum", f"{endpoint}:{tree}/big").stdout == program("md5sum", tree / "big")
    value = json.loads(run("--json", "md5sum", f"{endpoint}:{tree}/big").stdout)
    assert value == {"path": f"{tree}/big", "md5": hashlib.md5(b"x" * 100_000).hexdigest()}


def test_a_digest_of_a_large_file_gets_more_time_unless_it_is_limited(run: Run, scripted: ScriptedAgent) -> None:
    assert [digest_timeout(size, False) for size in (-1, 10**9, 10**18)] == [30, 130, 86400]
    assert digest_timeout(0, True) == 86400
    scripted.answers["get-file-md5sum"] = SILENCE
    assert_one_line(run("--timeout", 0.3, "md5sum", f"{scripted.endpoint}:/file"), 124)
    scripted.answers = {"get-file-md5sum": "abc", "file-stat": CommandError("not allowed by the policy", 1)}
    assert run("md5sum", f"{scripted.endpoint}:/file").stdout == "abc  /file\n"


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ls", "/etc"],
        ["stat", "unix:/x.sock"],
        ["mkdir", "-m", "8", "/x.sock:/a"],
        ["chmod", "755"],
        ["chmod", "-R", "8", "/x.sock:/a"],
        ["chown", "-R", ":", "/x.sock:/a"],
        ["chmod", "/x.sock:/a", "755"],
        ["chown", "root:", "/x.sock:/a"],
        ["chown", ":", "/x.sock:/a"],
        ["chown", "/x.sock:/a", "root"],
        ["md5sum", "/etc/hosts"],
    ],
)
def test_wrong_words_are_wrong_usage(run: Run, words: list[str]) -> None:
    assert_one_line(run(*words), 2)


def test_patterns_are_expanded_in_the_guest(run: Run, endpoint: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.log", ".d.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    assert run("ls", "-1d", f"{endpoint}:{tmp_path}/*.txt").stdout == f"{tmp_path}/a.txt\n{tmp_path}/b.txt\n"
    assert run("cat", f"{endpoint}:{tmp_path}/[ac].*").stdout == "a.txt\nc.log\n"
    assert run("rm", f"{endpoint}:{tmp_path}/?.txt").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".d.txt", "c.log"]
    assert_one_line(run("rm", f"{endpoint}:{tmp_path}/?.txt"), 1)


def test_a_failure_does_not_stop_the_other_paths_of_a_pattern(run: Run, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("b\n")
    result = run("cat", f"{endpoint}:{tmp_path}/?")
    assert (result.returncode, result.stdout) == (1, "b\n")
    assert f"{tmp_path}/a" in result.stderr
