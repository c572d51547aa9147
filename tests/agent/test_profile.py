"""The profiles: a policy on the command line, and directives that systemd knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from phoenix_ga.agent.config import load_config
from phoenix_ga.agent.dialects.qga.commands import COMMANDS as GUEST_COMMANDS
from phoenix_ga.agent.options.command_line import parse_command_line
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.profile import NAMES, drop_in
from phoenix_ga.wire.commands import COMMANDS
from tests.support import SOURCE

PROGRAM = "/usr/sbin/phoenix-ga"


def command_line(name: str) -> list[str]:
    lines = drop_in(name, PROGRAM).decode().splitlines()
    return lines[-1].removeprefix("ExecStart=").split()


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("backup", ("fs-freeze", "guest-fsfreeze-freeze"), ("exec", "file-get", "guest-exec", "guest-file-open")),
        ("probes", ("guest-exec", "guest-get-users"), ("guest-file-open", "file-put", "fs-freeze")),
        ("read-only", ("file-get", "sysinfo"), ("exec", "file-put", "fs-freeze")),
    ],
)
def test_the_policy_is_that_of_the_profile(name: str, allowed: tuple[str, ...], refused: tuple[str, ...]) -> None:
    program, *arguments = command_line(name)
    assert program == PROGRAM
    config = load_config(parse_command_line(arguments))
    policy = config.make_policy()
    by_name = {command.name: command for command in (*COMMANDS, *GUEST_COMMANDS)}
    for command in (*allowed, *refused):
        assert policy.permits(by_name[command]) == (command in allowed), command


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are: backup, probes, read-only"):
        drop_in("../backup", PROGRAM)
    with pytest.raises(ConfigError, match="with --install only"):
        parse_command_line(["--profile", "backup"])


@pytest.mark.programs("systemd-analyze")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_knows_each_directive(tmp_path: Path, name: str) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    (units / "phoenix-ga.service.d").mkdir(parents=True)
    unit = (SOURCE.parent / "packaging" / "systemd" / "phoenix-ga.service").read_bytes()
    (units / "phoenix-ga.service").write_bytes(unit)
    (units / "phoenix-ga.service.d" / "profile.conf").write_bytes(drop_in(name, PROGRAM))
    program = tmp_path / PROGRAM[1:]
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--root={tmp_path}",
        "--no-pager",
        "phoenix-ga.service",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Overall exposure level" in result.stdout, result.stderr
    assert "profile.conf" not in result.stderr, result.stderr
