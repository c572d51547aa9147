"""Each verb does what its help says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.cli import verbs
from phoenix_ga.cli.output import duration
from phoenix_ga.cli.program import program
from phoenix_ga.client import SILENCE, CommandError
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run, command_line, environment
from tests.cli.test_several import FROZE, THAWED
from tests.ends.agent import ScriptedAgent

# A verb is a file.
VERBS = sorted(path.stem.replace("_", "-") for path in Path(verbs.__file__).parent.glob("[!_]*.py"))


def test_help_tells_of_every_verb_and_every_exit_status(run: Run) -> None:
    result = run("--help")
    assert result.returncode == 0
    for word in (*VERBS, "help topics", "GUEST"):
        assert word in result.stdout
    statuses = run("help", "exit-status").stdout
    for word in ("124", "125", "130"):
        assert word in statuses
    assert sorted(program.load_all()) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_ends_in_a_worked_example(run: Run, verb: str) -> None:
    text = run(verb, "--help").stdout
    assert "Example" in text
    example = text.splitlines()[-1].strip()
    assert example.startswith("$ ")
    assert f"phoenixctl {verb}" in example or example.startswith("$ ssh")


def test_help_loads_no_library_that_it_does_not_need() -> None:
    script = "import atexit, sys; sys.argv[1:] = ['--help']; from phoenix_ga.cli.__main__ import main\n"
    script += "atexit.register(lambda: print('LOADED', *sys.modules)); main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    loaded = result.stdout.partition("LOADED")[2].split()
    assert "click" in loaded
    assert not {"asyncio", "rich", "phoenix_ga.client"} & set(loaded)


def test_a_verb_is_loaded_only_if_it_is_named() -> None:
    script = "import sys; from phoenix_ga.cli.program import program\n"
    script += "program.get_command(None, 'freeze-status'); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert [name for name in result.stdout.split() if name.startswith("phoenix_ga.cli.verbs.")] == [
        "phoenix_ga.cli.verbs.freeze_status"
    ]


def test_ping_counts_and_sums_up(run: Run, endpoint: str) -> None:
    result = run("ping", "-c", 3, "-i", 0.01, endpoint)
    assert result.returncode == 0
    assert result.stdout.count(f"version={__version__}") == 3
    assert "3 sent, 3 answered, 0% lost" in result.stdout
    assert "min/avg/max/p99 = " in result.stdout


def test_ping_as_json(run: Run, endpoint: str) -> None:
    lines = [json.loads(line) for line in run("--json", "ping", "-c", 2, "-i", 0, endpoint).stdout.splitlines()]
    assert [line.get("number") for line in lines] == [1, 2, None]
    assert lines[2]["statistics"]["answered"] == 2


def test_ping_sums_up_when_it_is_interrupted(endpoint: str) -> None:
    process = subprocess.Popen(
        command_line("ping", "-i", "0.05", endpoint), stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output = process.stdout.read()
    assert process.wait(10) == 0
    assert "0% lost" in output


def test_ping_that_nobody_answers(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["ping"] = SILENCE
    result = run("--timeout", 0.2, "ping", "-c", 2, "-i", 0, scripted.endpoint)
    assert result.returncode == 124
    assert "2 sent, 0 answered, 100% lost" in result.stdout


def test_info_is_a_table_for_people_and_json_for_programs(run: Run, endpoint: str) -> None:
    text = run("info", endpoint)
    assert text.returncode == 0
    assert f"phoenix-ga {__version__}, {len(BY_NAME)} commands" in text.stdout
    assert "\x1b" not in text.stdout
    assert " available\n" in text.stdout
    assert re.search(r"\n  cpus +\d+\n", text.stdout)
    value = json.loads(run("--json", "info", endpoint).stdout)
    assert value["system"]["kernel"]["system"] == "Linux"
    assert value["cpus"] == len(os.sched_getaffinity(0)) or value["cpus"] > 0
    assert value["frozen"] is False


def test_info_shows_what_the_policy_of_the_guest_allows(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {name: CommandError("no", 1) for name in BY_NAME}
    scripted.answers |= {"ping": "1.0", "get-commands": ["ping"], "sysinfo": BY_NAME["sysinfo"].examples[0].answer}
    result = run("info", scripted.endpoint)
    assert (result.returncode, result.stderr) == (0, "")
    assert " free\n" in result.stdout
    assert "cpus" not in result.stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "0 min"), (3399, "56 min"), (3600, "1 h 0 min"), (90000, "1 day 1 h"), (273900, "3 days 4 h")],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_commands(run: Run, endpoint: str) -> None:
    assert run("commands", endpoint).stdout.split() == sorted(BY_NAME)
    assert json.loads(run("--json", "commands", endpoint).stdout) == sorted(BY_NAME)


def test_freeze_status_and_thaw(run: Run, scripted: ScriptedAgent) -> None:
    details = {**THAWED, "frozen": True, "remaining": 7}
    scripted.answers = {"fs-freeze": FROZE, "fs-unfreeze": True, "get-freeze-status": details}
    assert run("freeze", "--auto-thaw", 9, scripted.endpoint).stdout == "frozen\n"
    assert run("freeze-status", scripted.endpoint).stdout == "frozen, automatic thaw in 7 s\n"
    assert run("--json", "thaw", scripted.endpoint).stdout == '{"frozen": false}\n'
    assert scripted.asked == ["fs-freeze", "get-freeze-status", "fs-unfreeze"]


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"frozen": True}, "frozen"),
        ({"frozen": True, "stage": "freeze /data\x1b"}, "being frozen: freeze /data\\x1b"),
        ({}, "thawed"),
        ({"ended": "thawed"}, "thawed"),
        ({"ended": "released"}, "thawed, by a thaw that proves that the freeze held until then"),
        ({"ended": "broken"}, "thawed, in part by another program before the thaw"),
        ({"ended": "deadline"}, "thawed, automatically after the time limit of the freeze"),
        ({"ended": "died"}, "thawed, because the agent was killed while frozen"),
        ({"ended": "\x1b[31m"}, "thawed"),
        (
            {"frozen": True, "generation": "ab\x1b", "since": 1764280000123, "blocked": 1234},
            "frozen\ngeneration ab\\x1b, frozen since 2025-11-27 21:46:40 UTC, writers blocked for 1.234 s",
        ),
        (
            {"ended": "thawed", "generation": "ab", "since": 1764280000123, "until": 2**63, "blocked": 99},
            f"thawed\ngeneration ab, frozen since 2025-11-27 21:46:40 UTC until {2**63} ms, "
            "writers blocked for 0.099 s",
        ),
    ],
)
def test_freeze_status_tells_how_the_last_freeze_ended(
    run: Run, scripted: ScriptedAgent, details: dict[str, object], told: str
) -> None:
    scripted.answers = {"get-freeze-status": {**THAWED, **details}}
    assert run("freeze-status", scripted.endpoint).stdout == told + "\n"


def test_a_freeze_without_an_answer_tells_what_to_do(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers = {"fs-freeze": SILENCE}
    result = run("--timeout", 0.2, "freeze", scripted.endpoint)
    assert result.returncode == 124
    assert "phoenixctl thaw" in result.stderr


def test_raw_types_its_arguments_as_they_are_declared(run: Run, endpoint: str, tmp_path: object) -> None:
    path = f"{tmp_path}/made"
    handle = run("raw", endpoint, "file-open", f"path={path}", "mode=w", "perm=0o600", "force=true")
    assert handle.returncode == 0
    closed = run("raw", endpoint, "file-close", f"handle_id={handle.stdout.strip()}")
    assert closed.stdout == "true\n"
    status = json.loads(run("--json", "raw", endpoint, "file-stat", f"path={path}").stdout)
    assert status["stat"]["Mode"] == 0o100600


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["file-stat"], "needs path=VALUE"),
        (["file-stat", "path"], "NAME=VALUE"),
        (["file-stat", "path=/", "path=/"], "twice"),
        (["file-stat", "path=/", "deep=1"], "it accepts: path"),
        (["file-close", "handle_id=abc"], "integer"),
        (["file-open", "path=/", "force=perhaps"], "true or false"),
        (["-", "path=/"], "part of the requests"),
    ],
)
def test_raw_with_wrong_arguments_says_what_is_right(run: Run, endpoint: str, words: list[str], hint: str) -> None:
    result = run("raw", endpoint, *words)
    assert result.returncode == 2
    assert hint in result.stderr


def test_raw_sends_commands_that_it_does_not_know(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["brand-new"] = {"made": 1}
    assert json.loads(run("raw", scripted.endpoint, "brand-new", "n=1", "name=x").stdout) == {"made": 1}


def test_raw_runs_requests_from_stdin(run: Run, endpoint: str) -> None:
    lines = '{"execute": "ping", "tag": "a"}\n\n{"execute": "file-stat", "arguments": {"path": "/nowhere"}}\n'
    result = run("raw", endpoint, "-", input=lines)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert answers[0] == {"return": __version__, "tag": "a"}
    assert answers[1]["error"]["code"] == 2
    assert "/nowhere" in answers[1]["error"]["text"]
    assert result.returncode == 1


def test_raw_tells_of_a_line_that_is_no_request_and_goes_on(run: Run, endpoint: str) -> None:
    result = run("raw", endpoint, "-", input='nonsense\n{"execute": "ping"}\n')
    assert json.loads(result.stdout) == {"return": __version__}
    assert result.stderr.startswith("phoenixctl: line 1: ")
    assert result.returncode == 2


def test_verbose_shows_the_wire_on_stderr(run: Run, endpoint: str) -> None:
    result = run("-v", "raw", endpoint, "ping")
    assert '> {"execute": "ping"' in result.stderr
    assert f'< {{"return": "{__version__}"' in result.stderr
    assert result.stdout == f'"{__version__}"\n'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("phoenixctl fre", {"freeze", "freeze-status"}),
        ("phoenixctl raw unix:/x file-s", {"file-stat"}),
        ("phoenixctl raw unix:/x file-open pe", {"perm="}),
    ],
)
def test_completion_of_verbs_commands_and_arguments(run: Run, words: str, expected: set[str]) -> None:
    count = str(len(words.split()) - 1)
    result = run(COMP_WORDS=words, COMP_CWORD=count, _PHOENIXCTL_COMPLETE="bash_complete")
    assert {line.partition(",")[2] for line in result.stdout.splitlines()} == expected


def test_an_old_agent_that_refuses_is_quoted(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["get-commands"] = CommandError("not today", 1)
    result = run("commands", scripted.endpoint)
    assert (result.returncode, result.stderr) == (1, f"phoenixctl: {scripted.endpoint}: not today\n")
