"""`exec` and `shell`: a program in the guest behaves as one of this host would."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from phoenix_ga.cli.escapes import EscapeFilter
from tests.cli.conftest import Run, command_line, environment
from tests.support import AgentProcess, wait_for


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 128 + 15)]
)
def test_the_exit_status_is_passed_on(run: Run, endpoint: str, script: str, status: int) -> None:
    assert run("exec", endpoint, "--", "sh", "-c", script).returncode == status


def test_output_goes_where_it_belongs(run: Run, endpoint: str) -> None:
    result = run("exec", endpoint, "--", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_input_is_given_where_it_is_asked_for(run: Run, endpoint: str) -> None:
    assert run("exec", "-i", endpoint, "--", "tr", "a-z", "A-Z", input="hello").stdout == "HELLO"
    assert run("exec", endpoint, "--", "cat", input="not for you").stdout == ""


def test_arguments_are_words_and_no_shell_looks_at_them(run: Run, endpoint: str) -> None:
    assert run("exec", endpoint, "--", "printf", "%s|", "$HOME", "a b", "-u", "*").stdout == "$HOME|a b|-u|*|"


def test_where_and_with_what_it_runs(run: Run, endpoint: str, tmp_path: Path) -> None:
    result = run("exec", "-w", tmp_path, "-e", "A=b=c", "-e", "D=", endpoint, "--", "sh", "-c", 'pwd; echo "$A$D"')
    assert result.stdout == f"{tmp_path}\nb=c\n"


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (["--", "no-such-program"], 127, "no-such-program: No such file or directory"),
        (["--", "/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["-u", "no-such-user", "--", "true"], 127, "no user 'no-such-user'"),
        ([], 2, "Missing argument"),
        (["-e", "NONSENSE", "--", "true"], 2, "NAME=VALUE"),
    ],
)
def test_what_does_not_start_says_why(run: Run, endpoint: str, words: list[str], status: int, hint: str) -> None:
    result = run("exec", endpoint, *words)
    assert result.returncode == status
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_is_sent_to_the_program(endpoint: str) -> None:
    script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        command_line("exec", endpoint, "--", "sh", "-c", script), stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("interrupted\n", 9)


def test_a_second_ctrl_c_ends_a_program_that_does_not_want_to(endpoint: str, tmp_path: Path) -> None:
    script = f"trap '' INT; echo $$ > {tmp_path}/pid; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        command_line("exec", endpoint, "--", "sh", "-c", script), stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    pid = (tmp_path / "pid").read_text().strip()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_reader_that_has_gone_ends_the_program(endpoint: str) -> None:
    script = " ".join(command_line("exec", endpoint, "--", "cat", "/dev/zero")) + " | head -c 100000 | wc -c"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment(), timeout=20)
    assert result.stdout.strip() == "100000"
    assert result.stderr == ""


class Typist:
    """Runs phoenixctl on a terminal of its own, and types."""

    def __init__(self, *words: str, rows: int = 33, columns: int = 101) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            command_line(*words),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**environment(TERM="vt100"), "COLUMNS": ""},
            start_new_session=True,
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def test_a_shell_is_interactive_and_leaves_the_terminal_as_it_was(endpoint: str) -> None:
    typist = Typist("shell", endpoint, "-e", "PS1=prompt")
    try:
        # Between two commands, the shell itself would take the Ctrl-C. A program takes it before `exec` and after.
        typist.type(b"stty size; echo $TERM; sh -c 'echo ready$((1 + 1)); exec sleep 60'\r")
        typist.wait_for(b"33 101")
        typist.wait_for(b"vt100")
        typist.wait_for(b"ready2")
        typist.type(b"\x03")
        typist.type(b"echo again$((1 + 1))\r")
        typist.wait_for(b"again2")
        typist.resize(40, 120)
        typist.process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        typist.type(b"stty size\r")
        typist.wait_for(b"40 120")
        typist.type(b"exit 6\r")
        assert typist.process.wait(20) == 6
        assert termios.tcgetattr(typist.slave) == typist.before
    finally:
        typist.close()


def test_a_shell_that_loses_its_guest_leaves_the_terminal_as_it_was(endpoint: str, tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        typist = Typist("shell", f"unix:{agent.socket_path}")
        try:
            typist.type(b"echo up$((1 + 1))\r")
            typist.wait_for(b"up2")
            agent.process.kill()
            assert typist.process.wait(20) == 125
            assert termios.tcgetattr(typist.slave) == typist.before
        finally:
            typist.close()


def test_a_program_is_left_running_listed_and_attached_to(run: Run, endpoint: str) -> None:
    started = run("exec", "-d", endpoint, "--", "sh", "-c", "echo hello; read line; echo $line; exit 9")
    pid = started.stdout.strip()
    assert started.returncode == 0
    assert pid in run("processes", endpoint).stdout
    (listed,) = (each for each in json.loads(run("--json", "processes", endpoint).stdout) if str(each["pid"]) == pid)
    assert (str(listed["pid"]), listed["detached"], listed["attached"]) == (pid, True, False)
    attached = run("attach", "-i", endpoint, pid, input="word\n")
    assert (attached.stdout, attached.returncode) == ("hello\nword\n", 9)
    gone = run("attach", endpoint, pid)
    assert (gone.returncode, "no detached process" in gone.stderr) == (1, True)


def test_nobody_gives_input_to_what_is_detached(run: Run, endpoint: str) -> None:
    result = run("exec", "-di", endpoint, "--", "cat")
    assert (result.returncode, "attach -i" in result.stderr) == (2, True)


@pytest.mark.parametrize("words", [["shell"], ["exec", "-it"]])
def test_an_interactive_terminal_is_refused_without_one_here(run: Run, endpoint: str, words: list[str]) -> None:
    result = run(*words, endpoint, *["cat"][: len(words) - 1], input="hi\n")
    assert (result.returncode, "needs a terminal on stdin" in result.stderr) == (2, True)


def test_a_terminal_alone_needs_none_here(run: Run, endpoint: str) -> None:
    assert run("exec", "-t", endpoint, "tty").stdout.startswith("/dev/pts/")


def test_the_escape_key_leaves_a_shell_that_does_not_respond(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        typist = Typist("shell", f"unix:{agent.socket_path}")
        try:
            typist.wait_for(b"type ~. at the start of a line")
            typist.type(b"echo up$((1 + 1))\r")
            typist.wait_for(b"up2")
            typist.type(b"echo a~.b\r")
            typist.wait_for(b"a~.b\r\n")
            typist.type(b"~?")
            typist.wait_for(b"disconnect, even if")
            agent.process.send_signal(signal.SIGSTOP)
            typist.type(b"~.")
            assert typist.process.wait(20) == 130
            assert termios.tcgetattr(typist.slave) == typist.before
        finally:
            agent.process.send_signal(signal.SIGCONT)
            typist.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(endpoint: str, number: signal.Signals) -> None:
    typist = Typist("shell", endpoint)
    try:
        typist.type(b"echo up$((1 + 1))\r")
        typist.wait_for(b"up2")
        typist.process.send_signal(number)
        assert typist.process.wait(20) == 128 + number
        assert termios.tcgetattr(typist.slave) == typist.before
    finally:
        typist.close()


@pytest.mark.parametrize(
    ("typed", "sent", "commands"),
    [
        ([b"~."], b"", b"."),
        ([b"~", b"."], b"", b"."),
        ([b"a~.\r~.x"], b"a~.\r", b"."),
        ([b"~~.\r"], b"~.\r", b""),
        ([b"~x\n~?~."], b"~x\n", b"?."),
        ([b"~", b"\r~."], b"~\r", b"."),
        ([b"abc", b"~.", b"\r"], b"abc~.\r", b""),
    ],
)
def test_escape_sequences_count_at_the_start_of_a_line(typed: list[bytes], sent: bytes, commands: bytes) -> None:
    escape_filter = EscapeFilter()
    results = [escape_filter.filter(piece) for piece in typed]
    assert b"".join(piece for piece, _ in results) == sent
    assert b"".join(found for _, found in results) == commands
