"""Services and the journal of a guest, with programs that take the place of systemd's."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent
from tests.support import AgentProcess, wait_for

pytestmark = pytest.mark.root

SYSTEMCTL = r"""#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
*list-units*)
    echo "nginx.service loaded active running A \033[31mweb server"
    echo "gone.service not-found inactive dead gone.service"
    echo "cron.service loaded failed failed"
    ;;
*show*absent*) echo LoadState=not-found ;;
*show*) printf 'Id=nginx.service\nLoadState=loaded\nActiveState=%s\nSubState=running\nMainPID=7\nResult=success\n' \
    "$(cat "$(dirname "$0")/state")" ;;
*stuck*) sleep 1000 ;;
*broken*) echo "Job for broken.service failed." >&2; exit 1 ;;
esac
"""
JOURNALCTL = r"""#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
*output=json*) printf '{"MESSAGE": "a\\u001b[2J"}\nnonsense\n' ;;
*absent*) echo "Failed to add filter" >&2; exit 1 ;;
*) printf 'first \033[2J\n' ;;
esac
case "$*" in *follow*) exec sleep 1000 ;; esac
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("programs")
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    (directory / "state").write_text("active")
    return directory


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[AgentProcess]:
    """An agent for which these programs are the first in PATH."""
    script = (
        "import os, sys; os.execvp('unshare', ['unshare', '--mount', 'sh', '-c', "
        f"""'mount --bind "$0" /usr/local/sbin && exec "$@"', {str(programs)!r}, *sys.argv[1:]])"""
    )
    with AgentProcess(tmp_path_factory.mktemp("guest"), wrapper=("-c", script)) as process:
        yield process


@pytest.fixture
def endpoint(guest: AgentProcess) -> str:
    return f"unix:{guest.socket_path}"


def test_services_are_listed(run: Run, endpoint: str) -> None:
    lines = run("services", endpoint).stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["nginx", "active", "running"], ["cron", "failed", "failed"]]
    assert r"\x1b[31m" in lines[1]
    objects = json.loads(run("--json", "services", endpoint).stdout)
    assert [each["unit"] for each in objects] == ["nginx.service", "cron.service"]


@pytest.mark.parametrize(("state", "status"), [("active", 0), ("reloading", 0), ("inactive", 3), ("failed", 3)])
def test_the_exit_status_tells_the_state(run: Run, endpoint: str, programs: Path, state: str, status: int) -> None:
    (programs / "state").write_text(state)
    result = run("services", endpoint, "nginx")
    assert (result.returncode, f"{state} (running)" in result.stdout) == (status, True)


def test_a_unit_that_does_not_exist_has_a_status_of_its_own(run: Run, endpoint: str) -> None:
    result = run("services", endpoint, "absent")
    assert (result.returncode, "there is no unit absent.service" in result.stderr) == (4, True)


def test_a_service_is_restarted(run: Run, endpoint: str, programs: Path) -> None:
    assert run("services", endpoint, "--", "-x", "restart").returncode == 0
    assert run("services", endpoint, "a.timer", "stop").returncode == 0
    calls = (programs / "calls").read_text().splitlines()
    assert calls[-2].endswith("restart -- -x.service")
    assert calls[-1].endswith("stop -- a.timer")


def test_what_systemd_refuses_is_told(run: Run, endpoint: str) -> None:
    result = run("services", endpoint, "broken", "start")
    assert (result.returncode, "Job for broken.service failed." in result.stderr) == (1, True)


def test_a_service_that_does_not_start_in_time(run: Run, endpoint: str) -> None:
    assert run("services", endpoint, "stuck", "start", "--timeout", "1").returncode == 124


def test_a_guest_without_systemd_is_told(run: Run, agent: AgentProcess, scripted: ScriptedAgent) -> None:
    from phoenix_ga.client import CommandError

    scripted.answers["exec"] = CommandError("systemctl: No such file or directory", 2)
    for words in (("services", scripted.endpoint), ("journal", scripted.endpoint)):
        result = run(*words)
        assert (result.returncode, "systemd does not run its services" in result.stderr) == (1, True)


def test_the_journal_is_printed_as_it_is_or_escaped_on_a_terminal(run: Run, endpoint: str, programs: Path) -> None:
    result = run("journal", "-u", "nginx", "-n", "5", "-p", "err", "-S", "today", "-b", endpoint)
    assert (result.returncode, result.stdout) == (0, "first \x1b[2J\n")
    words = "--boot --lines=5 --priority=err --since=today"
    assert (programs / "calls").read_text().splitlines()[-1].endswith(f"--unit=nginx {words}")
    ours, theirs = pty.openpty()
    subprocess.run(command_line("journal", endpoint), stdout=theirs, env=environment(), timeout=30, check=True)
    assert os.read(ours, 4096) == b"first \\x1b[2J\r\n"
    os.close(ours)
    os.close(theirs)


def test_messages_are_objects(run: Run, endpoint: str) -> None:
    lines = run("--json", "journal", endpoint).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"MESSAGE": "a\x1b[2J"}, {"invalid": "nonsense"}]
    assert "\x1b" not in "".join(lines)


def test_an_error_of_journalctl_is_told(run: Run, endpoint: str) -> None:
    result = run("journal", "-u", "absent", endpoint)
    assert (result.returncode, "Failed to add filter" in result.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["journal", "tail", "events"])
def test_ctrl_c_ends_what_follows_and_leaves_nothing_in_the_guest(
    guest: AgentProcess, endpoint: str, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "log").write_text("line\n")
    place = {"journal": endpoint, "tail": f"{endpoint}:{tmp_path}/log", "events": endpoint}[verb]
    took = []
    for _ in range(5):
        with subprocess.Popen(
            command_line(verb, "-f", place), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        ) as process:
            try:
                assert process.stdout is not None
                if verb == "events":
                    # It watches the mounts.
                    wait_for(lambda: bool(guest.open_files(Path("/proc"))))
                else:
                    assert process.stdout.readline()
                assert bool(guest.children()) == (verb == "journal")
                start = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 130
                took.append(time.monotonic() - start)
            finally:
                process.kill()
        wait_for(lambda: not (guest.children() or guest.open_files(tmp_path) or guest.open_files(Path("/proc"))))
    print(f"{verb} -f ended {sorted(took)[2] * 1000:.0f} ms after Ctrl-C")
