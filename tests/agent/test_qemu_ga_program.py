"""The agent in the place of qemu-ga: its command line, its config file, and how it starts and ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.dialects.qga.commands import COMMANDS
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.qemu_ga.config import QemuGaConfig
from phoenix_ga.agent.qemu_ga.options import QemuGaLine, load_options, parse_command_line
from tests.ends.client import LineClient
from tests.support import SOURCE, wait_for

DEFAULTS = """[general]
daemon=false
method=virtio-serial
path=/dev/virtio-ports/org.qemu.guest_agent.0
pidfile=/var/run/qemu-ga.pid
statedir=/var/run
verbose=false
retry-path=false
block-rpcs=
allow-rpcs=
"""
PROGRAM = [sys.executable, "-m", "phoenix_ga.agent.qemu_ga"]


@pytest.fixture(autouse=True)
def no_config_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QGA_CONF", str(tmp_path / "qemu-ga.conf"))


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), **more}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=20, check=False, env=environment()
    )


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, env=environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def options(*words: str) -> dict[str, Any]:
    return load_options(parse_command_line(words))


def test_the_configuration_is_dumped_as_a_config_file() -> None:
    result = run("-D")
    assert (result.returncode, result.stdout, result.stderr) == (0, DEFAULTS, "")


def test_what_is_dumped_is_read_again(tmp_path: Path) -> None:
    words = (
        "-m",
        "unix-listen",
        "-p",
        "/x",
        "-l/log",
        "-F",
        "-vr",
        "-b",
        "guest-exec,guest-info",
        "-a",
        "guest-ping",
    )
    dumped = run(*words, "-D").stdout
    (tmp_path / "qemu-ga.conf").write_text(dumped)
    assert run("-D").stdout == dumped
    assert load_options(QemuGaLine()) == options()


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--method=isa-serial",), "path", "/dev/ttyS0"),
        (("--method", "isa-serial"), "method", "isa-serial"),
        (("--meth", "isa-serial"), "method", "isa-serial"),
        (("-F",), "fsfreeze-hook", "/etc/qemu/fsfreeze-hook"),
        (("-F/a/b",), "fsfreeze-hook", "/a/b"),
        (("--fsfreeze-hook",), "fsfreeze-hook", "/etc/qemu/fsfreeze-hook"),
        (("--fsfreeze-hook=/a",), "fsfreeze-hook", "/a"),
        (("-d",), "daemon", True),
        (("--daemonize",), "daemon", True),
        (("-rv",), "retry-path", True),
        (("-rvp/x",), "path", "/x"),
        (("-b", "a,b", "--block-rpcs=c"), "block-rpcs", ("a", "b", "c")),
        (("--blacklist", "a"), "block-rpcs", ("a",)),
        (("-a", "a;b"), "allow-rpcs", ("a", "b")),
        (("--debug",), "debug", True),
        (("--qga-version", "9.2.0"), "qga-version", "9.2.0"),
        (("word", "-v", "--", "-r"), "retry-path", False),
    ],
)
def test_the_command_line(words: tuple[str, ...], name: str, value: object) -> None:
    assert options(*words)[name] == value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--bogus",), "unrecognized option '--bogus'"),
        (("-x",), "invalid option -- 'x'"),
        (("--v",), "ambiguous option: '--v'"),
        (("-m",), "option requires an argument -- 'm'"),
        (("--path",), "option '--path' requires an argument"),
        (("--verbose=yes",), "option '--verbose' doesn't allow an argument"),
        (("-m", "pigeon"), "unsupported channel method/type: pigeon"),
        (("-m", "unix-listen"), "must specify a path for this channel"),
        (("-t", "relative"), "statedir must be an absolute path, not 'relative'"),
    ],
)
def test_a_wrong_command_line_is_said_to_be_so(words: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(*words)
    assert str(caught.value).startswith(problem)


def test_a_wrong_command_line_ends_the_program_with_one() -> None:
    result = run("--bogus")
    assert result.returncode == 1
    assert result.stderr.endswith("Unknown option, try 'qemu-ga --help' for more information.\n")


def test_the_config_file_is_read_before_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "qemu-ga.conf").write_text(
        "# a comment\n[general]\nverbose = true\nstatedir=/a\ndaemon=1\nunknown=x\nblacklist=guest-exec;guest-info\n"
        "[other]\nmethod=isa-serial\n"
    )
    found = options("-t", "/b", "-b", "guest-ping")
    assert (found["verbose"], found["statedir"], found["daemon"], found["method"]) == (
        True,
        "/b",
        True,
        "virtio-serial",
    )
    assert found["block-rpcs"] == ("guest-exec", "guest-info", "guest-ping")


@pytest.mark.parametrize("text", ["garbage\n", "key=value\n", "[general]\nverbose=maybe\n"])
def test_a_bad_config_file_keeps_the_program_from_starting(tmp_path: Path, text: str) -> None:
    (tmp_path / "qemu-ga.conf").write_text(text)
    result = run("-D")
    assert result.returncode == 1
    assert "error loading configuration from path: " in result.stderr


def test_a_config_file_that_was_named_must_exist(tmp_path: Path) -> None:
    missing = str(tmp_path / "lost.conf")
    result = run("-c", missing, "-D")
    assert result.returncode == 1
    assert f"error loading configuration from path: {missing}, No such file or directory" in result.stderr


def test_debug_and_the_version_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "qemu-ga.conf").write_text("[general]\ndebug=true\nqga-version=9.2.0\n")
    config = QemuGaConfig(options())
    assert (config.debug, config.qga_version) == (True, "9.2.0")
    (tmp_path / "qemu-ga.conf").unlink()
    config = QemuGaConfig(options())
    assert (config.debug, config.qga_version) == (False, "11.1.0")
    assert run("--qga-version=9.2.0", "-V").stdout.startswith("QEMU Guest Agent 9.2.0 ")


def test_version_help_and_the_list_of_commands() -> None:
    assert run("-V").stdout.startswith("QEMU Guest Agent 11.1.0 ")
    assert run("-h").stdout.startswith("Usage: qemu-ga [-m <method> -p <path>] [<options>]")
    for words in (("-b", "help"), ("--block-rpcs=?",), ("-a", "help")):
        assert run(*words).stdout.split() == [command.name for command in COMMANDS]


def test_a_device_that_is_not_there_ends_it_unless_it_is_to_be_retried(tmp_path: Path) -> None:
    missing = str(tmp_path / "port")
    result = run("-p", missing)
    assert result.returncode == 1
    assert missing in result.stderr
    with started("-p", missing, "-r") as process:
        time.sleep(0.5)
        assert process.poll() is None


def test_it_listens_serves_and_ends_with_zero_while_a_client_is_there(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        started("-m", "unix-listen", "-p", str(path), "-t", str(tmp_path)) as process,
        LineClient.reach(path) as client,
    ):
        assert path.stat().st_mode & 0o777 == 0o600
        client.send(b"garbage\n")
        assert client.answer()["error"]["class"] == "GenericError"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("words", "hooks"),
    [
        ((), ()),
        (("-F",), ("/etc/qemu/fsfreeze-hook",)),
        (("--fsfreeze-hook=/some/hook",), ("/some/hook",)),
    ],
)
def test_hooks_are_those_of_both_agents(words: tuple[str, ...], hooks: tuple[str, ...]) -> None:
    config = QemuGaConfig(options(*words, "-t", "/state"))
    assert config.freeze_hook == ("/etc/phoenix-ga/fsfreeze-hook.d", *hooks)
    assert config.frozen_marker == "/state/qga.state.isfrozen"


def test_the_limits_of_a_freeze_may_be_given_and_are_dumped_only_then(tmp_path: Path) -> None:
    (tmp_path / "qemu-ga.conf").write_text("[general]\nfreeze-timeout=30\n")
    config = QemuGaConfig(options("--hook-timeout", "5"))
    assert (config.freeze_timeout, config.hook_timeout) == (30, 5)
    assert "freeze-timeout=30\nstatedir" in run("-D").stdout
    result = run("--hook-timeout=soon", "-m", "unix-listen", "-p", str(tmp_path / "socket"))
    assert (result.returncode, result.stderr) == (1, "qemu-ga: hook-timeout must be a whole number, not 'soon'\n")


def test_one_client_is_served_at_a_time_and_the_next_one_waits(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started("-m", "unix-listen", "-p", str(path), "-t", str(tmp_path)), LineClient.reach(path) as first:
        with LineClient.connect(path) as second:
            second.send(b'{"execute": "guest-sync", "arguments": {"id": 2}}')
            first.send(b'{"execute": "guest-sync", "arguments": {"id": 1}}')
            assert first.answer() == {"return": 1}
            second.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                second.answer()
        with LineClient.connect(path) as third:
            first.close()
            third.send(b'{"execute": "guest-sync", "arguments": {"id": 3}}')
            assert third.answer() == {"return": 3}


@pytest.mark.parametrize(
    ("words", "enabled", "native"),
    [
        ((), {"guest-ping": True, "guest-info": True, "guest-sync": True}, True),
        (("-b", "guest-ping"), {"guest-ping": False, "guest-info": True, "guest-sync": True}, False),
        (("-a", "guest-info"), {"guest-ping": False, "guest-info": True, "guest-sync": False}, False),
        (("-a", "guest-info,guest-ping", "-b", "guest-ping"), {"guest-ping": False, "guest-info": True}, False),
    ],
)
def test_the_lists_decide_and_nothing_goes_around_them(
    tmp_path: Path, words: tuple[str, ...], enabled: dict[str, bool], native: bool
) -> None:
    path = tmp_path / "socket"
    with started("-m", "unix-listen", "-p", str(path), "-t", str(tmp_path), *words), LineClient.reach(path) as client:
        client.send(b'{"execute": "guest-info"}')
        entries = {entry["name"]: entry["enabled"] for entry in client.answer()["return"]["supported_commands"]}
        assert enabled.items() <= entries.items()
        client.send(b'{"execute": "guest-ping"}')
        answer = client.answer()
        assert ("return" in answer) == enabled["guest-ping"]
        client.send(b'{"execute": "ping", "tag": 1}')
        assert ("return" in client.answer()) == native


def test_a_daemon_has_a_pid_file_and_is_alone(tmp_path: Path) -> None:
    words = ["-d", "-f", str(tmp_path / "pid"), "-m", "unix-listen", "-t", str(tmp_path), "-l", str(tmp_path / "log")]
    assert run(*words, "-p", str(tmp_path / "one")).returncode == 0
    process = int((tmp_path / "pid").read_text())
    try:
        with LineClient.connect(tmp_path / "one") as client:
            client.send(b'{"execute": "guest-ping"}')
            assert client.answer() == {"return": {}}
        second = run(*words, "-p", str(tmp_path / "two"))
        assert second.returncode == 1
        assert "cannot lock pid file" in second.stderr
        assert int((tmp_path / "pid").read_text()) == process
    finally:
        os.kill(process, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{process}").exists() or "Z" in Path(f"/proc/{process}/stat").read_text())
    assert "stopping" in (tmp_path / "log").read_text()


def test_a_daemon_that_cannot_start_is_seen_to_fail(tmp_path: Path) -> None:
    words = ["-d", "-f", str(tmp_path / "pid"), "-m", "unix-listen", "-t", str(tmp_path)]
    result = run(*words, "-p", str(tmp_path / "nowhere" / "socket"))
    assert result.returncode == 1
    assert "nowhere" in result.stderr


def test_a_socket_that_systemd_listens_on_wins_over_method_and_path(tmp_path: Path) -> None:
    path = tmp_path / "activated"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        # As systemd does: the socket is number 3, and the variables name the process itself.
        start = f"""
import os, sys
os.dup2({listening.fileno()}, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, {[*PROGRAM, "-p", "/nowhere", "-t", str(tmp_path)]!r})
"""
        process = subprocess.Popen(
            [sys.executable, "-c", start], pass_fds=[listening.fileno()], env=environment(), stderr=subprocess.DEVNULL
        )
        try:
            with LineClient.connect(path) as client:
                client.send(json.dumps({"execute": "guest-ping", "id": 1}).encode())
                assert client.answer() == {"return": {}, "id": 1}
        finally:
            process.terminate()
            assert process.wait(10) == 0
        assert path.exists()
