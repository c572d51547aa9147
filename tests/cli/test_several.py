"""One verb on many guests: each is heard under its own name, and what became of all is summed up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.fanout import fan_out
from phoenix_ga.cli.guest_printer import GuestPrinter
from phoenix_ga.cli.summary import DONE, Outcome
from phoenix_ga.client import SILENCE, CommandError
from phoenix_ga.client.discovery import KnownGuest
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.messages import Request
from tests.cli import crowd
from tests.cli.conftest import command_line, environment
from tests.cli.test_exit_status import EVIL, assert_harmless
from tests.ends.agent import ScriptedAgent, listed
from tests.support import SOURCE, AgentProcess, wait_for

THAWED = {
    "frozen": False,
    "remaining": -1,
    "ended": "",
    "generation": "",
    "since": 0,
    "until": 0,
    "blocked": 0,
    "stage": "",
}
FROZE = {"generation": "5f0c7d1b", "filesystems": ["/"], "skipped": []}
FROZEN = {**THAWED, "frozen": True}

Phoenixctl = Callable[..., "subprocess.CompletedProcess[str]"]


class Host:
    """A host that knows guests by name. scripts: those that are only scripts, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scripts: dict[str, ScriptedAgent] = {}
        self._guests: dict[str, str] = {}

    def know(self, guests: Mapping[str, str], **groups: list[str]) -> None:
        """Let the host know guests, endpoints by name, and groups of them."""
        self._guests.update(guests)
        path = self.directory / "phoenix" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        # Never those of the machine that runs the tests.
        lines = [
            "sources = []",
            "[guests]",
            *(f"{json.dumps(name)} = {json.dumps(where)}" for name, where in self._guests.items()),
        ]
        lines += ["[groups]", *(f"{name} = {json.dumps(words)}" for name, words in groups.items())]
        path.write_text("\n".join(lines))

    def add(self, name: str, **answers: Any) -> ScriptedAgent:
        """Let the host know a guest that answers from a script; hyphens are underscores in `answers`."""
        directory = self.directory / name
        directory.mkdir()
        script = ScriptedAgent(directory)
        script.answers = {command.replace("_", "-"): answer for command, answer in answers.items()}
        self.scripts[name] = script
        self.know({name: script.endpoint})
        return script

    def environment(self) -> dict[str, str]:
        return environment(XDG_CONFIG_HOME=str(self.directory))

    def start(self, *words: object, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command_line(*map(str, words)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            **more,
        )

    def run(self, *words: object, input: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*words, stdin=subprocess.PIPE)
        output, errors = process.communicate(input, timeout=50)
        return subprocess.CompletedProcess([], process.returncode, output, errors)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for script in host.scripts.values():
        script.__exit__()


@pytest.fixture
def pair(host: Host, endpoint: str, tmp_path: Path) -> Iterator[Host]:
    """A host with two real agents, web1 and web2."""
    directory = tmp_path / "second"
    directory.mkdir()
    with AgentProcess(directory) as second:
        host.know({"web1": endpoint, "web2": f"unix:{second.socket_path}"}, web=["web1", "web2"])
        yield host


def summary(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on stderr."""
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", ["web1,web2", "web*", "@web", "web[12]", "web2,web*"])
def test_the_same_verb_runs_on_all_that_are_selected(pair: Host, words: str) -> None:
    result = pair.run("freeze-status", words)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["web1: thawed", "web2: thawed"]
    assert result.stderr == "phoenixctl: 2 of 2 done\n"


def test_one_plain_guest_is_answered_without_its_name(pair: Host) -> None:
    result = pair.run("freeze-status", "web1")
    assert (result.stdout, result.stderr) == ("thawed\n", "")


def test_a_pattern_names_its_guest_even_where_it_is_one(pair: Host) -> None:
    result = pair.run("freeze-status", "*1")
    assert (result.stdout, result.stderr) == ("web1: thawed\n", "phoenixctl: 1 of 1 done\n")


def test_each_line_of_a_table_has_the_name_before_it(pair: Host) -> None:
    lines = pair.run("info", "web*").stdout.splitlines()
    assert {line.partition(": ")[0] for line in lines} == {"web1", "web2"}
    assert sum(f"phoenix-ga {__version__}" in line for line in lines) == 2


def test_as_json_each_guest_has_a_line(pair: Host) -> None:
    lines = [json.loads(line) for line in pair.run("--json", "commands", "web*").stdout.splitlines()]
    assert {line["guest"]: line["result"] for line in lines} == dict.fromkeys(("web1", "web2"), sorted(BY_NAME))
    raw = pair.run("--json", "raw", "web*", "ping").stdout.splitlines()
    assert [json.loads(line)["result"] for line in raw] == [__version__] * 2


def test_what_becomes_of_each_is_summed_up_and_the_highest_status_counts(host: Host) -> None:
    for number in range(3):
        host.add(f"good{number}", get_freeze_status=THAWED)
    host.add("db1", get_freeze_status=CommandError("not today", 1))
    host.add("mute1", get_freeze_status=SILENCE)
    host.add("mute2", get_freeze_status=SILENCE)
    result = host.run("--timeout", 0.5, "freeze-status", "*")
    assert summary(result) == "phoenixctl: 3 of 6 done; 1 refused: db1; 2 timed out: mute1, mute2"
    assert result.returncode == 124
    assert "phoenixctl: db1: not today\n" in result.stderr

    host.know({"gone": f"{host.directory}/gone.sock"})
    lines = [json.loads(line) for line in host.run("--json", "freeze-status", "good0,db1,gone").stdout.splitlines()]
    found = {line["guest"]: line.get("result", line.get("error")) for line in lines}
    assert found["good0"] == {**THAWED, "remaining": None}
    assert found["db1"] == {"text": "not today", "status": 1}
    assert found["gone"]["status"] == 125


def test_a_guest_that_refuses_with_the_number_of_a_broken_pipe_ends_nothing_else(host: Host) -> None:
    host.add("a", get_freeze_status=CommandError("pipe", 32))
    host.add("b", get_freeze_status=FROZEN)
    result = host.run("--parallel", 1, "freeze-status", "*")
    assert (result.returncode, result.stdout) == (1, "b: frozen\n")
    assert summary(result) == "phoenixctl: 1 of 2 done; 1 refused: a"


@pytest.mark.parametrize(
    "words", [["ping", "nobody*"], ["ping", "@nobody"], ["ls", "nobody*:/"], ["cp", "/etc/hosts", "nobody*:/tmp/"]]
)
def test_a_pattern_that_nobody_matches_is_wrong_usage(pair: Host, words: list[str]) -> None:
    result = pair.run(*words)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["attach", "web*", "1"],
        ["proxy", "web*", "127.0.0.1:22"],
        ["forward", "web*", "0:127.0.0.1:22"],
        ["exec", "-i", "web*", "--", "cat"],
        ["exec", "-t", "web*", "--", "top"],
        ["raw", "web*", "-"],
    ],
)
def test_what_is_for_one_guest_refuses_several(pair: Host, words: list[str]) -> None:
    result = pair.run(*words)
    assert result.returncode == 2
    assert "web* selects 2: web1, web2" in result.stderr


def test_a_socket_that_is_selected_twice_is_asked_once(host: Host) -> None:
    script = host.add("web1", get_freeze_status=THAWED)
    path = script.endpoint.removeprefix("unix:")
    result = host.run("freeze-status", f"web1,{path},unix:{path}")
    assert result.stderr == "phoenixctl: 1 of 1 done\n"
    assert script.asked == ["get-freeze-status"]


def test_no_more_than_asked_for_are_under_way_at_once(host: Host) -> None:
    under_way: list[int] = []
    most = 0

    def answer(request: Request) -> dict[str, Any]:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        time.sleep(0.05)
        under_way.pop()
        return THAWED

    for number in range(8):
        host.add(f"web{number}", get_freeze_status=answer)
    assert host.run("--parallel", 2, "freeze-status", "*").returncode == 0
    assert most <= 2


def test_control_characters_of_a_guest_do_not_reach_the_terminal_nor_another_guests_lines(host: Host) -> None:
    evil = {"get_commands": [EVIL, "x\nweb2: forged"], "ping": EVIL, "file_stat": CommandError(EVIL[:-1], 1)}
    host.add("web1\x1b[2J", **evil)
    for words in (["commands", "*"], ["ping", "*"], ["stat", "*:/"], ["-v", "ping", "*"], ["--json", "ping", "*"]):
        result = host.run(*words)
        assert_harmless(result.stdout + result.stderr)
        assert not [line for line in result.stdout.splitlines() if line.startswith("web2")]


# Paths


def test_all_paths_of_a_guest_go_over_one_connection(host: Host) -> None:
    status = BY_NAME["file-stat"].examples[0].answer
    connections = []
    script = host.add("web1", file_stat=status)
    path = script.endpoint.removeprefix("unix:")
    same = ["web1:/a", f"{path}:/b", f"unix:{path}:/c"]
    for words in (["web1:/a", "web1:/b", "web1:/c"], ["web*:/a", "web*:/b", "web1:/c"], same):
        result = host.run("-v", "stat", *words)
        assert result.returncode == 0
        connections.append(result.stderr.count('{"execute": "sync"'))
    assert connections == [1, 1, 1]
    assert script.asked == ["file-stat"] * 9


def test_paths_of_several_guests(pair: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    digest = hashlib.md5(b"text").hexdigest()
    result = pair.run("md5sum", f"web*:{tmp_path}/file", f"web1:{tmp_path}/nowhere")
    assert sorted(result.stdout.splitlines()) == [f"web{n}: {digest}  {tmp_path}/file" for n in (1, 2)]
    assert result.returncode == 1
    assert summary(result) == "phoenixctl: 1 of 2 done; 1 refused: web1"
    lines = pair.run("--json", "stat", f"@web:{tmp_path}/file").stdout.splitlines()
    assert [json.loads(line)["result"]["size"] for line in lines] == [4, 4]


def test_a_listing_of_several_guests_tells_whose_directory_could_not_be_read(host: Host) -> None:
    status = BY_NAME["file-stat"].examples[0].answer
    below = {**status, "name": "below", "isdir": True, "stat": {**status["stat"], "Mode": 0o40755}}
    first = listed(below, status)
    denied = CommandError("/top/below: Permission denied", 13)
    host.add(
        "bad",
        file_stat=below,
        directory_entries=lambda request: first(request) if request.arguments["path"] == "/top" else denied,
    )
    host.add("good", file_stat=below, directory_entries=listed(status))
    result = host.run("ls", "-1R", "*:/top")
    assert result.returncode == 1
    assert "phoenixctl: bad: /top/below: Permission denied\n" in result.stderr
    assert sorted(result.stdout.splitlines()) == [
        "bad: /top:",
        "bad: below",
        "bad: hello.txt",
        "good: /top:",
        "good: hello.txt",
    ]


def test_mkdir_chmod_and_chown_say_nothing_but_how_many_are_done(pair: Host, tmp_path: Path) -> None:
    for words in (["mkdir", "-p"], ["chmod", "700"], ["chown", f"{os.geteuid()}"]):
        result = pair.run(*words, f"web*:{tmp_path}/made")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "phoenixctl: 2 of 2 done\n")
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_cat_puts_the_name_before_each_line(pair: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\n\x1b[2Jtwo\tends")
    result = pair.run("cat", f"web*:{tmp_path}/file")
    assert sorted(result.stdout.splitlines()) == [
        "web1: \\x1b[2Jtwo\tends",
        "web1: one",
        "web2: \\x1b[2Jtwo\tends",
        "web2: one",
    ]
    lines = pair.run("--json", "cat", f"*1:{tmp_path}/file").stdout.splitlines()
    assert [json.loads(line)["stdout"] for line in lines if "stdout" in line] == ["one", "\x1b[2Jtwo\tends"]


def test_a_copy_within_a_guest_knows_it_by_each_of_its_names(pair: Host, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("text")
    result = pair.run("--timeout", 5, "cp", f"web1:{tmp_path}/source", f"{endpoint}:{tmp_path}/copy")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "copy").read_text() == "text"


def test_cp_and_tee_bring_a_file_to_all(pair: Host, tmp_path: Path) -> None:
    # Both agents see this machine's files: what the second one brings takes the place of the first.
    (tmp_path / "source").write_text("text")
    for words, name in ((["cp", tmp_path / "source"], "copy"), (["tee"], "written")):
        result = pair.run(*words, f"web*:{tmp_path}/{name}", input="text")
        assert result.returncode == 0, result.stderr
        assert summary(result) == "phoenixctl: 2 of 2 done"
        assert (tmp_path / name).read_text() == "text"
    lines = pair.run("--json", "cp", tmp_path / "source", f"web*:{tmp_path}/copy").stdout.splitlines()
    assert [json.loads(line)["result"]["bytes"] for line in lines] == [4, 4]


@pytest.mark.parametrize("words", [["cp", "web*:/etc/hosts", "."], ["cp", "web1:/etc/hosts", "web*:/tmp/"]])
def test_copies_that_would_take_each_others_place_are_wrong_usage(pair: Host, words: list[str]) -> None:
    assert pair.run(*words).returncode == 2


# Programs


def test_output_of_programs_is_told_apart_line_by_line(pair: Host) -> None:
    result = pair.run("exec", "web*", "--", "sh", "-c", "echo out; printf 'no end'; echo err >&2")
    assert sorted(result.stdout.splitlines()) == ["web1: no end", "web1: out", "web2: no end", "web2: out"]
    assert sorted(result.stderr.splitlines()[:2]) == ["web1: err", "web2: err"]
    assert result.stderr.splitlines()[2:] == ["phoenixctl: 2 of 2 done"]


def test_output_comes_while_the_program_runs(pair: Host) -> None:
    process = pair.start("exec", "web*", "--", "sh", "-c", "echo begun; sleep 60")
    assert process.stdout is not None
    assert sorted(process.stdout.readline() for _ in range(2)) == ["web1: begun\n", "web2: begun\n"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors.strip() == "phoenixctl: 0 of 2 done; 2 interrupted: web1, web2"


def test_the_highest_status_of_the_programs_is_that_of_all(pair: Host, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/first 2>/dev/null && exit 3 || exit 7"
    result = pair.run("exec", "web*", "--", "sh", "-c", script)
    assert result.returncode == 7
    assert "1 ended with 3: web" in result.stderr
    assert "1 ended with 7: web" in result.stderr
    missing = pair.run("exec", "web*", "--", "no-such-program")
    assert missing.returncode == 127
    assert summary(missing) == "phoenixctl: 0 of 2 done; 2 refused: web1, web2"


def test_output_as_json_is_an_object_a_line_and_then_the_status(pair: Host) -> None:
    result = pair.run("--json", "exec", "web1,web2", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    of_web1 = [line for line in lines if line.pop("guest") == "web1"]
    assert sorted(of_web1, key=str) == [{"result": {"status": 3}}, {"stderr": "err"}, {"stdout": "out"}]


def test_a_line_without_end_goes_out_in_pieces(pair: Host) -> None:
    process = pair.start("exec", "web*", "--", "sh", "-c", "tr '\\0' x < /dev/zero")
    assert process.stdout is not None
    for _ in range(20):
        line = process.stdout.readline()
        assert line.startswith(("web1: xxxx", "web2: xxxx"))
        assert len(line) < 2**20
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_a_reader_that_has_gone_ends_it_all(pair: Host) -> None:
    words = " ".join(command_line("exec", "web1,web2", "--", "yes")) + " | head -n 3"
    result = subprocess.run(["sh", "-c", words], capture_output=True, text=True, env=pair.environment(), timeout=20)
    assert (result.stdout.count("\n"), result.stderr) == (3, "")


def test_programs_are_left_running_on_all(pair: Host) -> None:
    result = pair.run("exec", "-d", "web*", "--", "true")
    pids = dict(line.split(": ") for line in result.stdout.splitlines())
    assert set(pids) == {"web1", "web2"}
    for name, pid in pids.items():
        assert pair.run("attach", name, pid).returncode == 0


# Freezing


def test_a_freeze_of_several_tells_which_are_frozen_where_not_all_are(host: Host) -> None:
    good = host.add("good", fs_freeze=FROZE)
    host.add("bad", fs_freeze=CommandError("a device is gone", 5))
    result = host.run("freeze", "*")
    assert result.returncode == 1
    assert result.stdout == "good: frozen\n"
    assert summary(result) == "phoenixctl: these guests are or may be frozen: good; run phoenixctl thaw"
    assert good.asked == ["fs-freeze"]
    assert host.run("freeze", "good,unix:/nowhere").returncode == 125


@pytest.mark.parametrize("answer", [CommandError("a device is gone", 5), SILENCE, None])
def test_a_freeze_of_all_or_none_thaws_again_what_froze(host: Host, answer: Any) -> None:
    good = host.add("good", fs_freeze=FROZE, fs_unfreeze=True)
    bad = host.add("bad", fs_freeze=answer, fs_unfreeze=True)
    result = host.run("--timeout", 1, "freeze", "--all-or-none", "*")
    assert result.returncode in (1, 124, 125)
    assert good.asked == ["fs-freeze", "fs-unfreeze"]
    # Of one that refused nothing is frozen; of one that does not answer, nobody knows.
    assert ("fs-unfreeze" in bad.asked) == (not isinstance(answer, CommandError))


def test_an_interrupted_freeze_of_all_or_none_thaws_again(host: Host) -> None:
    good = host.add("good", fs_freeze=FROZE, fs_unfreeze=True)
    slow = host.add("slow", fs_freeze=SILENCE, fs_unfreeze=True)
    process = host.start("freeze", "--all-or-none", "*")
    assert process.stdout is not None
    assert process.stdout.readline() == "good: frozen\n"
    wait_for(lambda: bool(slow.asked))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130, errors
    assert good.asked == slow.asked == ["fs-freeze", "fs-unfreeze"], errors


def test_an_interrupted_freeze_tells_which_may_be_frozen(host: Host) -> None:
    host.add("good", fs_freeze=FROZE)
    slow = host.add("slow", fs_freeze=SILENCE)
    process = host.start("freeze", "*")
    assert process.stdout is not None
    assert process.stdout.readline() == "good: frozen\n"
    wait_for(lambda: bool(slow.asked))
    # What was printed was counted a moment later.
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "1 of 2 done; 1 interrupted: slow" in errors
    assert "these guests are or may be frozen: " in errors


# Many


def test_ctrl_c_sums_up_what_was_done_and_what_was_not(host: Host) -> None:
    host.add("a", get_freeze_status=THAWED)
    mute = host.add("b", get_freeze_status=SILENCE)
    host.add("c", get_freeze_status=THAWED)
    process = host.start("--parallel", 1, "freeze-status", "*")
    wait_for(lambda: bool(mute.asked))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (130, "a: thawed\n")
    assert errors.strip() == "phoenixctl: 1 of 3 done; 1 interrupted: b; 1 not contacted"


def test_ping_asks_each_of_several_once_unless_it_is_told_how_often(pair: Host) -> None:
    result = pair.run("ping", "web*")
    assert "2 sent, 2 answered, 0% lost" in result.stdout
    assert f"web1: version={__version__} number=1 time=" in result.stdout
    assert "4 sent, 4 answered" in pair.run("ping", "-c2", "-i0", "web*").stdout
    lines = [json.loads(line) for line in pair.run("--json", "ping", "web*").stdout.splitlines()]
    assert [line["result"]["version"] for line in lines[:2]] == [__version__] * 2
    assert lines[2]["statistics"]["answered"] == 2


def test_a_slow_reader_costs_no_guest_its_time(host: Host) -> None:
    names = ["x" * 200 + str(number) for number in range(1500)]
    host.add("a", get_commands=names)
    host.add("b", get_commands=names)

    def answer_late(request: Request) -> list[str]:
        time.sleep(0.5)
        return ["late"]

    late = host.add("c", get_commands=answer_late)
    process = host.start("--timeout", 2, "commands", "*")
    wait_for(lambda: bool(late.asked))
    time.sleep(3)
    output, errors = process.communicate(timeout=20)
    assert "c: late\n" in output
    assert errors == "phoenixctl: 3 of 3 done\n"


@pytest.fixture
def crowded(host: Host) -> Iterator[Callable[[Mapping[str, str]], None]]:
    """Let the host know a crowd: kinds, as `crowd` has them, by name."""
    processes: list[subprocess.Popen[str]] = []

    def start(kinds: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.crowd", str(host.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCE.parent,
            env=environment(),
        )
        processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(list(kinds.items())) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        host.know({name: f"unix:{host.directory}/{name}.sock" for name in kinds})

    yield start
    for process in processes:
        process.communicate()


def test_a_full_socket_is_told_at_once(host: Host, crowded: Callable[[Mapping[str, str]], None]) -> None:
    crowded({"full": "full"})
    result = host.run("ping", "full")
    assert result.returncode == 125
    assert "too many clients wait for this socket" in result.stderr


REAL, SILENT = 24, 20


def test_a_thousand_guests_are_asked_within_seconds_whatever_some_of_them_do(
    host: Host, crowded: Callable[[Mapping[str, str]], None], tmp_path: Path, record_property: Callable[..., None]
) -> None:
    hostile = {kind: what for kind, (what, _) in crowd.HOSTILE.items()}
    hostile.update({kind: what for kind, (what, _, _) in crowd.POURING.items()})
    kinds = {f"mock{number:03}": "honest" for number in range(1000 - REAL - SILENT - len(hostile))}
    kinds.update({f"silent{number}": ("silent", "deaf")[number % 2] for number in range(SILENT)})
    kinds.update({f"hostile-{kind}": kind for kind in hostile})
    crowded(kinds)
    agents = []
    try:
        for number in range(REAL):
            directory = tmp_path / f"real{number}"
            directory.mkdir()
            agents.append(AgentProcess(directory))
        host.know({f"agent{number}": f"unix:{agent.socket_path}" for number, agent in enumerate(agents)})
        start = time.monotonic()
        result = host.run("ping", "*")
        seconds = time.monotonic() - start
    finally:
        for agent in agents:
            agent.__exit__()
    record_property("seconds", round(seconds, 2))
    print(f"1,000 guests were asked within {seconds:.2f} s")
    assert seconds < 30

    done, *others = summary(result).removeprefix("phoenixctl: ").split("; ")
    answered = {line.partition(": ")[0] for line in result.stdout.splitlines() if "version=" in line}
    assert done == f"{len(answered)} of 1000 done"
    assert answered == {name for name, kind in kinds.items() if kind == "honest"} | {f"agent{n}" for n in range(REAL)}
    named: dict[str, set[str]] = {}
    for other in others:
        what, _, names = other.partition(": ")
        named[what.partition(" ")[2]] = set(names.split(", "))
    expected: dict[str, set[str]] = {"timed out": {f"silent{number}" for number in range(SILENT)}}
    for kind, what in hostile.items():
        expected.setdefault(what, set()).add(f"hostile-{kind}")
    assert named == expected
    assert result.returncode == 125


def test_nobody_who_cleans_up_is_interrupted_because_another_was_faster() -> None:
    cleaned = []

    async def work(known: KnownGuest, printer: GuestPrinter) -> Outcome:
        if known.name == "last":
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(10)
        finally:
            if known.name != "fast":
                await asyncio.sleep(0.05)
            cleaned.append(known.name)
        return DONE

    names = ("fast", "slow", "last")
    with pytest.raises(KeyboardInterrupt):
        fan_out(Options(parallel=3), [KnownGuest(name, f"/{name}", "test") for name in names], work)
    assert cleaned == list(names)


def test_the_summary_is_an_object_with_json(host: Host) -> None:
    host.add("good", get_freeze_status=THAWED)
    host.add("bad", get_freeze_status=CommandError("not today", 1))
    result = host.run("--json", "freeze-status", "*")
    others = {"refused": ["bad"]}
    assert json.loads(result.stderr) == {"summary": {"done": 1, "total": 2, "others": others}}
