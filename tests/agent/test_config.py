"""Options: the command line over the config file over the defaults, and clear errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.config import load_config
from phoenix_ga.agent.options.command_line import parse_command_line
from phoenix_ga.agent.options.help import usage
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import DEFAULT_PORTS, OPTIONS
from tests.ends.client import LineClient, RefusedError
from tests.support import SOURCE, AgentProcess


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phoenix_ga.agent", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.conf"
    path.write_text(
        "# a comment\n[general]\nport = unix:/a, unix:/b\nmax-handles=7\nread-only = yes\nblock = a; b,c\n"
    )
    return path


def test_defaults_hold_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # This machine may have qemu-ga.
    monkeypatch.setattr("phoenix_ga.agent.config.default_ports", lambda: DEFAULT_PORTS)
    config = load_config(parse_command_line([]))
    assert config.port == DEFAULT_PORTS
    for option in OPTIONS:
        assert getattr(config, option.attribute) == option.default


def test_the_config_file_is_read(config_file: Path) -> None:
    config = load_config(parse_command_line(["-c", str(config_file)]))
    assert config.port == ("unix:/a", "unix:/b")
    assert (config.max_handles, config.read_only, config.block) == (7, True, ("a", "b", "c"))


def test_the_command_line_wins(config_file: Path) -> None:
    line = ["-c", str(config_file), "-p", "/dev/x", "--max-handles", "9", "--read-only=no", "--block", "d"]
    config = load_config(parse_command_line(line))
    assert (config.port, config.max_handles, config.read_only, config.block) == (("/dev/x",), 9, False, ("d",))


def test_several_ports_and_old_spellings(tmp_path: Path) -> None:
    line = parse_command_line(["-p", "/dev/x", "-port=unix:/a,b", "-debug", "--port", "tty:/dev/ttyS1"])
    assert line.options == {"port": ("/dev/x", "unix:/a,b", "tty:/dev/ttyS1"), "debug": True}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--no-such"], "unknown option '--no-such'"),
        (["stray"], "unexpected argument 'stray'"),
        (["-"], "unexpected argument '-'"),
        (["-p"], "option '-p' needs a value"),
        (["--max-handles", "many"], "max-handles must be a whole number, not 'many'"),
        (["--max-handles", "0"], "max-handles must be at least 1, not 0"),
        (["--read-only=perhaps"], "read-only must be true or false"),
        (["-c", "/no/such.conf"], "/no/such.conf: no such file"),
        (["-p", "relative"], "port 'relative' is neither"),
        (["-p", "vsock:x"], "vsock: needs a port number"),
        (["-p", "unix:"], "unix: needs a path"),
        (["-p", "unix:/no/such/dir/sock"], "No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line_and_status_1(arguments: list[str], text: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    lines = [line for line in result.stderr.splitlines() if line.startswith("phoenix-ga: ")]
    assert len(lines) == 1
    assert text in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[general]\nno-such = 1\n", "line 2: no option 'no-such'"),
        ("[general]\nmax-handles\n", "line 2: no option 'max-handles'"),
        ("max-handles = 1\n", "line 1: the line [general] must come first"),
        ("[other]\n", "line 1: unknown section [other]"),
        ("\n[general]\n\nmax-handles = x\n", "line 4: max-handles must be a whole number"),
        ("[general]\nport =\n", "there is no port"),
    ],
)
def test_a_wrong_config_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "conf").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(parse_command_line(["-c", str(tmp_path / "conf")]))
    assert message in str(caught.value)


def test_what_is_dumped_is_read_back(tmp_path: Path, config_file: Path) -> None:
    dumped = run("-c", str(config_file), "-D").stdout
    (tmp_path / "dumped").write_text(dumped)
    assert run("-c", str(tmp_path / "dumped"), "--dump-config").stdout == dumped
    assert "max-handles = 7\n" in dumped


def test_version_and_help_are_printed() -> None:
    assert run("-v").stdout == f"{__version__}\n"
    assert run("--help").stdout == usage()
    for option in OPTIONS:
        assert f"--{option.name}" in usage()


def test_sighup_reads_the_policy_again_without_losing_a_client(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        assert client.call("ping") == __version__
        agent.config_path.write_text("[general]\nblock = ping\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_log("the configuration was read again")
        with pytest.raises(RefusedError, match="not allowed by the policy"):
            client.call("ping")


def test_a_broken_config_file_changes_nothing_on_sighup(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        agent.config_path.write_text("[general]\nblock ping\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_log("the configuration stays as it was")
        assert client.call("ping") == __version__


def test_ports_come_and_go_with_sighup(tmp_path: Path) -> None:
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    with AgentProcess(tmp_path, port="", config=f"[general]\nport = unix:{first}\n") as agent:
        with LineClient.connect(first) as client:
            assert client.call("ping") == __version__
        agent.config_path.write_text(f"[general]\nport = unix:{second}\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_log("the configuration was read again")
        assert not first.exists()
        with LineClient.connect(second) as client:
            assert client.call("ping") == __version__
