"""Completion in a shell: it offers what is there, and never hangs, complains or slips in a command."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run, environment
from tests.ends.agent import ScriptedAgent, listed
from tests.support import AgentProcess


def offered(run: Run, line: str) -> list[str]:
    """Return what is offered at the end of a command line; a busy machine may need more than one press of Tab."""
    return next(filter(None, (offered_at_once(run, line) for _ in range(10))), [])


def offered_at_once(run: Run, line: str) -> list[str]:
    result = run(COMP_LINE=line, _PHOENIXCTL_COMPLETE="bash_complete")
    assert (result.returncode, result.stderr) == (0, "")
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    odd = ("b; reboot", "b$(reboot)", "b`x`", "b\n", "b\x1b[2J", "b'")
    for name in ("bell", "bell:one=1", ".hidden", "other", *odd):
        (top / name).touch()
    return top


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"_PHOENIXCTL_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=result.stdout, text=True, check=False).returncode == 0


def test_an_unknown_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "tcsh").returncode == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("phoenixctl chm", {"chmod"}),
        ("phoenixctl --j", {"--json"}),
        ("phoenixctl ls --rec", {"--recursive"}),
        ("phoenixctl completion b", {"bash"}),
        ("phoenixctl raw unix:/x file-s", {"file-stat"}),
    ],
)
def test_verbs_options_and_words(run: Run, line: str, expected: set[str]) -> None:
    assert set(offered(run, line)) == expected


@pytest.mark.parametrize(
    "verb", ["ls", "stat", "cat", "tee", "md5sum", "sha256sum", "mkdir", "chmod 644", "cp /tmp/x"]
)
def test_files_of_the_guest_where_a_verb_takes_them(run: Run, endpoint: str, tree: Path, verb: str) -> None:
    before = f"{endpoint}:{tree}/"
    assert offered(run, f"phoenixctl {verb} {before}be") == [
        f"{before}bell",
        f"{before}bell:one=1",
        f"{before}below/",
    ]


def test_hidden_files_are_offered_when_the_dot_is_there(run: Run, endpoint: str, tree: Path) -> None:
    before = f"{endpoint}:{tree}/"
    assert offered(run, f"phoenixctl ls {before}.") == [f"{before}.hidden"]
    assert f"{before}.hidden" not in offered(run, f"phoenixctl ls {before}")


def test_a_name_that_a_shell_would_not_take_as_one_word_is_never_offered(run: Run, endpoint: str, tree: Path) -> None:
    names = {word.rpartition("/")[2] for word in offered(run, f"phoenixctl ls {endpoint}:{tree}/b")}
    assert names == {"bell", "bell:one=1", ""}


@pytest.mark.parametrize("answer", [SILENCE, HANG_UP, b"nonsense\n", 17, CommandError("\x1b[2J", 5), [{"name": 1}]])
def test_a_guest_that_misbehaves_offers_nothing_and_soon(run: Run, scripted: ScriptedAgent, answer: object) -> None:
    scripted.answers["directory-entries"] = answer
    start = time.monotonic()
    assert offered_at_once(run, f"phoenixctl ls {scripted.endpoint}:/e") == []
    assert time.monotonic() - start < 30


def test_a_port_that_nobody_serves_offers_nothing(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/mute.sock")
        listener.listen()
        assert offered_at_once(run, f"phoenixctl ls {tmp_path}/mute.sock:/e") == []
    assert offered_at_once(run, f"phoenixctl ls {tmp_path}/none.sock:/e") == []


def test_a_guest_with_very_many_files_offers_some(run: Run, scripted: ScriptedAgent) -> None:
    entry = BY_NAME["file-stat"].examples[0].answer
    entries = [{**entry, "name": f"file{number}"} for number in range(5000)]
    scripted.answers["directory-entries"] = listed(*entries)
    assert len(offered(run, f"phoenixctl ls {scripted.endpoint}:/f")) == 500


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_bash_completes_a_path_although_it_takes_colons_for_the_ends_of_words(
    agent: AgentProcess, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "phoenixctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m phoenix_ga.cli "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment(PATH=path, PS1="> ", TERM="dumb"))
    try:
        _type(terminal, 'eval "$(phoenixctl completion bash)"; echo rea"dy"\n', "\nready")
        _type(terminal, f"phoenixctl md5s\tunix:{agent.socket_path}:{tree}/bell:\t", "bell:one=1")
        _type(terminal, "\n", "d41d8cd98f00b204e9800998ecf8427e")
        _type(terminal, f"phoenixctl ls -1d unix:{agent.socket_path}:{tree}/oth\t\n", f"\n{tree}/other")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _type(terminal: int, keys: str, expected: str) -> None:
    """Type into a terminal, and wait until it shows something."""
    os.write(terminal, keys.encode())
    shown = ""
    deadline = time.monotonic() + 20
    while expected not in shown.replace("\r", ""):
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown
        shown += os.read(terminal, 65536).decode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ip GUEST a", ["address"]),
        ("ip GUEST addr ", ["show", "add", "delete"]),
        ("ip GUEST addr add 192.0.2.1/24 dev l", ["lo"]),
        ("ip GUEST link set l", ["lo"]),
        ("ip GUEST link set lo d", ["dev", "down"]),
        ("ip GUEST route add default v", ["via"]),
        ("exec GUEST -u roo", ["root"]),
        ("forward --j", ["--json"]),
    ],
)
def test_words_of_ip_users_and_global_options(run: Run, endpoint: str, line: str, expected: list[str]) -> None:
    assert offered(run, f"phoenixctl {line.replace('GUEST', endpoint)}") == expected


def test_programs_to_attach_to(run: Run, endpoint: str) -> None:
    pid = run("exec", "-d", endpoint, "sleep", "60").stdout.strip()
    try:
        assert pid in offered(run, f"phoenixctl attach {endpoint} ")
    finally:
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("verb", ["forward", "proxy", "ssh-config"])
def test_guests_of_other_verbs(run: Run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "phoenix").mkdir()
    (tmp_path / "phoenix" / "config.toml").write_text("sources = []\n[guests]\nweb1 = '/run/web1.sock'\n")
    result = run(COMP_LINE=f"phoenixctl {verb} we", _PHOENIXCTL_COMPLETE="bash_complete", XDG_CONFIG_HOME=tmp_path)
    assert result.stdout.strip() == "plain,web1"
