"""What goes wrong is one line on stderr and a status that scripts can tell apart."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phoenix_ga.cli.program import program
from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent

EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e[bold]\x7f\ud800"


def assert_one_line(result: subprocess.CompletedProcess[str], status: int) -> None:
    assert result.returncode == status, result.stderr
    assert result.stderr.startswith("phoenixctl: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (CommandError("no", 13), 1),
        (CommandError("no", -1), 1),
        (CommandError("not the pipe of phoenixctl", 32), 1),
        (SILENCE, 124),
        (HANG_UP, 125),
        (b"nonsense\n", 125),
        (17, 125),
    ],
)
def test_the_status_of_what_a_guest_does(run: Run, scripted: ScriptedAgent, answer: Any, status: int) -> None:
    scripted.answers["get-commands"] = answer
    assert_one_line(run("--timeout", 0.3, "commands", scripted.endpoint), status)


def test_who_meets_a_frozen_guest_is_told_how_to_thaw_it(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["file-stat"] = CommandError("all filesystems are frozen; fs-unfreeze thaws them", 16)
    result = run("ls", f"{scripted.endpoint}:/")
    assert_one_line(result, 1)
    assert result.stderr.endswith("; run phoenixctl thaw\n")


def test_no_socket(run: Run, tmp_path: Path) -> None:
    result = run("info", f"{tmp_path}/none.sock")
    assert_one_line(result, 125)
    assert "is the guest running" in result.stderr


def test_a_socket_that_nobody_serves_times_out(run: Run, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/mute.sock")
        listener.listen()
        assert_one_line(run("--timeout", 0.3, "info", f"{tmp_path}/mute.sock"), 124)


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["completion"],
        ["ping"],
        ["ping", "web1"],
        ["--timeout", "0", "ping", "/x"],
        ["cp", "a", "b"],
        ["cp", "/x.sock:/a"],
        ["cp", "/x.sock:/a", "b", "c"],
        ["cp", "-r", "/x.sock:/..", "b"],
        ["cp", "unix:/x.sock", "b"],
    ],
)
def test_wrong_usage(run: Run, words: list[str]) -> None:
    result = run(*words)
    assert_one_line(result, 2)


def test_wrong_usage_within_one_process() -> None:
    result = CliRunner().invoke(program, ["frobnicate"])
    assert result.exit_code == 2


def test_an_interrupt_is_quiet(scripted: ScriptedAgent) -> None:
    scripted.answers["get-commands"] = SILENCE
    process = subprocess.Popen(
        command_line("commands", scripted.endpoint), stderr=subprocess.PIPE, text=True, env=environment()
    )
    deadline = time.monotonic() + 10
    while not scripted.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.strip()) == (130, "")


def test_a_reader_that_has_gone_is_no_traceback(endpoint: str) -> None:
    shell = " ".join(command_line("commands", endpoint)) + " | true"
    result = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env=environment(), timeout=20)
    assert result.stderr == ""


def assert_harmless(text: str) -> None:
    allowed = set("\n")
    assert all(character.isprintable() or character in allowed for character in text), repr(text)


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_control_characters_of_a_guest_never_reach_the_terminal(
    run: Run, scripted: ScriptedAgent, json: list[str]
) -> None:
    from phoenix_ga.wire.commands import BY_NAME

    system = BY_NAME["sysinfo"].examples[0].answer
    system = {**system, "uname": {**system["uname"], "nodename": EVIL}}
    system["users"] = [{**system["users"][0], "name": EVIL, "login_time": 2**62}]
    scripted.answers = {name: CommandError(EVIL, 1) for name in BY_NAME}
    scripted.answers |= {"ping": EVIL, "get-commands": [EVIL], "sysinfo": system, "file-stat": {EVIL: [EVIL]}}
    for words in (["ping", "-c1"], ["info"], ["commands"]):
        result = run(*json, "-v", *words, scripted.endpoint)
        assert result.returncode == 0, result.stderr
        assert_harmless(result.stdout + result.stderr)
    result = run(*json, "raw", scripted.endpoint, "file-stat", "path=/")
    assert_harmless(result.stdout + result.stderr)


def test_control_characters_in_errors_and_names(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["file-stat"] = CommandError(EVIL[:-1], 2)
    result = run("raw", scripted.endpoint, "file-stat", "path=/")
    assert_one_line(result, 1)
    assert_harmless(result.stderr)


@pytest.mark.parametrize(("no_color", "bold"), [("", True), ("1", False)])
def test_bold_letters_on_a_terminal_unless_it_wants_no_colour(endpoint: str, no_color: str, bold: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            command_line("info", endpoint), stdout=theirs, env=environment(NO_COLOR=no_color, TERM="xterm")
        )
        output = os.read(ours, 65536)
        process.wait(20)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\x1b[1m" in output) == bold


EVERY_VERB = [
    ["ping", "-c1", "GUEST"],
    ["info", "GUEST"],
    ["metrics", "GUEST"],
    ["commands", "GUEST"],
    ["raw", "GUEST", "ping"],
    ["processes", "GUEST"],
    ["attach", "GUEST", "1"],
    ["exec", "GUEST", "--", "true"],
    ["freeze", "GUEST"],
    ["frozen", "GUEST", "--", "true"],
    ["thaw", "GUEST"],
    ["freeze-status", "GUEST"],
    ["ls", "GUEST:/x"],
    ["stat", "GUEST:/x"],
    ["cat", "GUEST:/x"],
    ["tee", "GUEST:/x"],
    ["md5sum", "GUEST:/x"],
    ["sha256sum", "GUEST:/x"],
    ["mkdir", "GUEST:/x"],
    ["chmod", "644", "GUEST:/x"],
    ["chown", "root", "GUEST:/x"],
    ["cp", "GUEST:/x", "/dev/null"],
    ["cp", "/etc/hosts", "GUEST:/x"],
    ["ip", "GUEST", "address"],
    ["ip", "GUEST", "route", "add", "default", "via", "192.0.2.1"],
    ["proxy", "GUEST", "127.0.0.1:22"],
    ["forward", "GUEST", "-R", "0:127.0.0.1:22"],
]


@pytest.mark.parametrize("words", EVERY_VERB, ids=" ".join)
def test_whatever_a_guest_says_when_it_refuses_is_one_harmless_line(
    run: Run, scripted: ScriptedAgent, words: list[str]
) -> None:
    from phoenix_ga.wire.commands import BY_NAME

    scripted.answers = {name: CommandError(f"{EVIL}\n", 1) for name in BY_NAME}
    result = run(*[word.replace("GUEST", scripted.endpoint) for word in words])
    assert_one_line(result, 1)
    assert_harmless(result.stdout + result.stderr)


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_control_characters_in_the_names_of_programs_and_in_digests(
    run: Run, scripted: ScriptedAgent, json: list[str]
) -> None:
    process = {"pid": 2**63, "argv": [EVIL, ""], "user": EVIL, "started": 2**62, "terminal": True}
    scripted.answers = {
        "exec-list": [
            {**process, "detached": True, "attached": False},
            {**process, "detached": True, "attached": True},
        ],
        "get-file-sha256sum": EVIL,
        "file-stat": CommandError(EVIL, 1),
    }
    for words in (["processes", scripted.endpoint], ["sha256sum", f"{scripted.endpoint}:/x"]):
        result = run(*json, *words)
        assert result.returncode == 0, result.stderr
        assert_harmless(result.stdout + result.stderr)
