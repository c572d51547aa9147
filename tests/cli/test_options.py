"""Options: where they can stand, what they do to errors, and what a missing library says."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from phoenix_ga.cli.verb import ProgramVerb
from phoenix_ga.client import SILENCE, CommandError
from tests.cli.conftest import Run, environment
from tests.ends.agent import ScriptedAgent


def test_without_arguments_the_help_is_printed_on_stderr_with_status_2(run: Run) -> None:
    result = run()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: phoenixctl ")
    assert "\n  exec " in result.stderr
    assert "\n  '*web" not in result.stderr


@pytest.mark.parametrize("module", ["click", "rich"])
def test_a_missing_library_is_named_in_one_line(module: str, tmp_path: Path) -> None:
    script = f"import sys; sys.modules['{module}'] = None; sys.argv[1:] = ['--version']\n"
    script += "from phoenix_ga.cli.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    if module == "click":
        assert result.returncode == 1
        assert "phoenix-guest-agent[host]" in result.stderr
        assert result.stderr.count("\n") == 1
    else:
        assert result.returncode == 0


def test_global_options_are_taken_before_and_after_the_verb(run: Run, endpoint: str) -> None:
    for words in (
        ("--json", "ping", "-c1", endpoint),
        ("ping", "--json", "-c1", endpoint),
        ("ping", endpoint, "-c1", "--json", "--timeout", "5"),
    ):
        assert json.loads(run(*words).stdout.splitlines()[0])["number"] == 1


def test_a_time_limit_after_the_verb_counts(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["get-commands"] = SILENCE
    assert run("commands", "--timeout", "0.2", scripted.endpoint).returncode == 124


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["GUEST", "printf", "%s|", "-d", "-u", "x", "--json", "--"], "-d|-u|x|--json|--|"),
        (["GUEST", "--", "printf", "%s|", "-i", "--", "x"], "-i|--|x|"),
        (["-e", "A=1", "GUEST", "-e", "B=2", "sh", "-c", "echo $A$B"], "12\n"),
        (["GUEST", "-eA=1", "--env=B=2", "sh", "-c", "echo $A$B"], "12\n"),
        (["-iw/", "GUEST", "-w", "/tmp", "pwd"], "/tmp\n"),
        (["--timeout", "5", "GUEST", "ls", "-d", "/"], "/\n"),
    ],
)
def test_the_first_word_after_the_guest_ends_our_options(
    run: Run, endpoint: str, words: list[str], output: str
) -> None:
    result = run("exec", *(word.replace("GUEST", endpoint) for word in words))
    assert (result.returncode, result.stdout, result.stderr) == (0, output, "")


def test_an_unknown_option_of_ours_is_a_usage_error(run: Run, endpoint: str) -> None:
    assert run("exec", "--nonsense", endpoint, "true").returncode == 2


def test_clusters_of_letters_with_a_value() -> None:
    verb = ProgramVerb("x", params=[click.Option(["-u"]), click.Option(["-i"], is_flag=True)])
    assert verb._program_start(["-iu", "bob", "g", "ls", "-i"]) == 3
    assert verb._program_start(["-ubob", "g", "ls"]) == 2
    assert verb._program_start(["g", "-i"]) is None


def test_h_of_ls_is_human_sizes(run: Run, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1536))
    assert " 1.5K " in run("ls", "-lh", f"{endpoint}:{tmp_path}").stdout
    assert "Usage:" in run("ls", "--help").stdout


@pytest.mark.parametrize(
    ("words", "status", "guest"),
    [
        (["--json", "commands", "GUEST"], 1, True),
        (["commands", "GUEST", "--json"], 1, True),
        (["--json", "cp", "/nowhere", "GUEST:/tmp/x"], 1, False),
        (["--json", "frobnicate"], 2, False),
        (["ping", "--json"], 2, False),
        (["--json", "ping", "no-such-guest"], 2, False),
    ],
)
def test_an_error_is_an_object_with_json(
    run: Run, scripted: ScriptedAgent, words: list[str], status: int, guest: bool
) -> None:
    scripted.answers = {"get-commands": CommandError("not\x1btoday", 1), "file-stat": CommandError("no", 2)}
    result = run(*(word.replace("GUEST", scripted.endpoint) for word in words))
    (line,) = result.stderr.splitlines()
    value = json.loads(line)
    assert result.returncode == value["error"]["status"] == status
    assert value["error"]["text"]
    assert value.get("guest") == (scripted.endpoint if guest else None)


def test_raw_takes_lists_and_objects_as_json(run: Run, endpoint: str) -> None:
    result = run("raw", endpoint, "exec", 'argv=["true"]', 'env={"A": "b"}')
    assert "array" not in result.stderr
    for wrong in ("argv=5", "argv=true", "argv=[1]", 'argv={"a": "b"}', "env=[]", 'env={"a": 1}'):
        result = run("raw", endpoint, "exec", wrong)
        assert (result.returncode, "is not of type" in result.stderr) == (2, True), wrong


def test_the_messages_name_guest_and_path_and_no_internal_command(run: Run, endpoint: str, tmp_path: Path) -> None:
    for words in (
        ["sha256sum", "G:/nowhere"],
        ["cat", "G:/nowhere"],
        ["ls", "G:/nowhere"],
        ["cp", "G:/nowhere", "x"],
    ):
        result = run(*(word.replace("G:", f"{endpoint}:") for word in words))
        assert result.stderr == f"phoenixctl: {endpoint}: /nowhere: No such file or directory\n"
    (tmp_path / "file").touch()
    result = run("cp", tmp_path / "file", f"{endpoint}:/nowhere/x")
    assert result.stderr.startswith(f"phoenixctl: {endpoint}: /nowhere/")
    assert "file-put" not in result.stderr


def test_a_colored_terminal_gets_help_too() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "phoenix_ga.cli"]
    assert subprocess.run(command, stderr=theirs, env=environment(), check=False).returncode == 2
    assert b"Usage: phoenixctl" in os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
