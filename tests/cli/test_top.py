"""`phoenixctl top`: its figures, its tables for pipes, and its screen on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.cli.top.figures import figures
from phoenix_ga.client import SILENCE, Metrics
from phoenix_ga.client.reader import Reader
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent
from tests.support import SOURCE, AgentProcess, wait_for

EVIL = "\x1b]0;owned\x07\n\u202e\udc80"
ANSWER: dict[str, Any] = BY_NAME["metrics"].examples[0].answer
TITLES = ["guest", "cpu%", "mem%", "psi%", "read", "write", "recv", "send", "load", "up", "state"]


def read(**changes: Any) -> Metrics:
    return Metrics.read(Reader({**ANSWER, **changes}))


def test_rates_and_shares_are_of_the_time_between_two_readings() -> None:
    disk, cpu = ANSWER["disks"][0], ANSWER["cpus"][0]
    interfaces = [
        {"name": "eth0", "state": "up", "rx_bytes": 100, "tx_bytes": 5, "hardware": 1},
        {"name": "br0", "state": "up", "rx_bytes": 100, "tx_bytes": 5, "hardware": 0},
    ]
    before = read(disks=[disk, {**disk, "name": "vda1"}, {**disk, "name": "dm-0"}], interfaces=interfaces)
    disk = {**disk, "sectors_read": disk["sectors_read"] + 20}
    after = read(
        cpus=[{**cpu, "user": cpu["user"] + 30, "iowait": cpu["iowait"] + 20, "idle": cpu["idle"] + 50}],
        disks=[disk, {**disk, "name": "vda1"}, {**disk, "name": "dm-0"}, {**disk, "name": "vdb"}],
        interfaces=[{**each, "rx_bytes": 4100} for each in interfaces],
        memory={"MemTotal": 1000, "MemAvailable": 250, "SwapTotal": 10, "SwapFree": 4},
    )
    found = figures(before, after, 2.0)
    assert (found.cpu, found.modes["iowait"], found.memory, found.swap_used) == (30.0, 20.0, 75.0, 6)
    assert (found.disk_read, found.disk_written, found.received, found.sent) == (5120.0, 0.0, 2000.0, 0.0)
    # After a boot, counters begin again.
    booted = figures(after, before, 2.0)
    assert (booted.cpu, booted.disk_read, booted.received) == (None, 0.0, 0.0)
    assert figures(None, after, 0).received is None


def test_a_table_is_printed_if_nobody_watches(run: Run, tmp_path: Path, scripted: ScriptedAgent) -> None:
    scripted.answers["metrics"] = SILENCE
    with AgentProcess(tmp_path) as agent:
        one = run("top", f"unix:{agent.socket_path}", "-i", "0.2")
        both = run("top", "-n1", "-i", "0.2", "--timeout", "1", f"unix:{agent.socket_path}", scripted.endpoint)
        value = run("--json", "top", "--once", "-i", "0.2", f"unix:{agent.socket_path}")
        several = run("top", "-n", "3", "-i", "0.2", f"unix:{agent.socket_path}")
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout.splitlines()[0].split() == TITLES
    assert len(one.stdout.splitlines()) == 2
    assert both.returncode == 124
    assert len(both.stdout.splitlines()) == 2
    assert both.stderr.startswith(f"phoenixctl: {scripted.endpoint}: no answer within 1 s")
    result = json.loads(value.stdout)["result"]
    assert 0 <= result["cpu"] <= 100
    assert result["memory_total"] > 0
    assert several.stdout.count("cpu%") == 3


def test_what_a_hostile_guest_says_neither_controls_the_terminal_nor_breaks_the_table(
    scripted: ScriptedAgent,
) -> None:
    scripted.answers["metrics"] = {
        **ANSWER,
        "time": 1e308,
        "boot_time": -(2**63),
        "uname": dict.fromkeys(ANSWER["uname"], EVIL * 1000),
        "os": {"pretty_name": EVIL},
        "loadavg": {"1m": 1e308, "5m": -1e308, "15m": 0.0},
        "memory": {"MemTotal": 2**63, "MemAvailable": -(2**63)},
        "pressure": {EVIL: {}, "cpu": {"some": {"avg10": 1e308}}},
        "cpus": [{"cpu": 0, "user": 2**63}, {"cpu": 0, "idle": -(2**63)}],
        "disks": [{"name": f"sd{EVIL}{number}", "sectors_read": 2**63} for number in range(1000)],
    }
    process = {"user": EVIL * 99, "argv": [EVIL * 9] * 99, "name": EVIL, "state": EVIL, "cpu_ticks": 2**63}
    answer = BY_NAME["process-list"].examples[0].answer
    listed = [{**answer["processes"][0], **process}, {**answer["processes"][0], "argv": [], "name": "\x1b[2J"}]
    scripted.answers["process-list"] = {**answer, "processes": listed}
    with Terminal("top", "-i", "0.2", scripted.endpoint) as terminal:
        terminal.until("pid user")
        terminal.press(b"\x1b")
        terminal.until("uptime")
        terminal.press(b"q")
        assert terminal.end() == 0
        for frame in terminal.frames():
            assert [line for line in frame if len(line) > 80 or not line.isprintable()] == []
    assert "owned" in terminal.text


class Terminal:
    """A phoenixctl on a terminal of 24 lines of 80 columns."""

    def __init__(self, *words: str, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self._shown = bytearray()
        settings = environment(TERM="xterm-256color", **variables)
        self.process = subprocess.Popen(
            command_line(*words), stdin=theirs, stdout=theirs, stderr=theirs, env=settings
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            self._shown += data

    @property
    def text(self) -> str:
        return self._shown.decode()

    def frames(self) -> list[list[str]]:
        """Return the lines of each screen so far, without colours."""
        frames = self.text.split("\x1b[H")[1:]
        plain = [re.sub(r"\x1b\[[0-9;]*[mKJ]", "", frame.partition("\x1b[?")[0]) for frame in frames]
        return [re.split("\r+\n", frame) for frame in plain]

    def until(self, text: str) -> list[str]:
        """Wait for a screen that contains a text from now on, and return it."""
        known = len(self.frames())

        def is_there() -> bool:
            assert self.process.poll() is None, self.text
            return any(text in " ".join("\n".join(frame).split()) for frame in self.frames()[known:-1])

        wait_for(is_there)
        return self.frames()[-2]

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """Wait for the end, which must leave the terminal as it was; return the exit status."""
        status = self.process.wait(60)
        wait_for(lambda: "\x1b[?25h\x1b[?1049l" in self.text)
        assert termios.tcgetattr(self._theirs) == self.before
        assert self.text.count("\x1b[?1049h") == self.text.count("\x1b[?1049l")
        return status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        os.close(self._ours)


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Three guests that answer, and one that hangs: the variables with which a host knows them."""
    yield from serve_crowd(tmp_path, {"a": "busy", "b": "busy", "hangs": "hung", "c": "busy"})


def serve_crowd(directory: Path, kinds: dict[str, str]) -> Iterator[dict[str, str]]:
    line = [sys.executable, "-m", "tests.cli.crowd", str(directory)]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SOURCE.parent, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(list(kinds.items())) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        (directory / "phoenix").mkdir()
        guests = "".join(f'{name} = "unix:{directory}/{name}.sock"\n' for name in kinds)
        (directory / "phoenix" / "config.toml").write_text(f"sources = []\n[guests]\n{guests}")
        yield {"XDG_CONFIG_HOME": str(directory)}
        process.communicate()


def names(frame: list[str]) -> list[str]:
    return [line.split()[0] for line in frame[2:-1] if line.strip()]


def test_keys_sort_choose_and_quit(crowd: dict[str, str]) -> None:
    with Terminal("top", "-i", "0.2", **crowd) as terminal:
        frame = terminal.until("30.0")
        assert frame[1].split() == TITLES
        # The load of a crowd's guest is its number; one without figures is last.
        terminal.press(b"l")
        assert names(terminal.until("by load")) == ["c", "b", "a", "hangs"]
        terminal.press(b"r")
        assert names(terminal.until("by load")) == ["a", "b", "c", "hangs"]
        terminal.press(b"g")
        frame = terminal.until("by guest")
        assert names(frame) == ["hangs", "c", "b", "a"]
        assert "no answer" in frame[2]
        assert len(frame) == 24
        assert frame[-1].endswith("reverse  Enter: details  quit")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_one_guest_is_shown_with_its_processes(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, Terminal("top", "-i", "0.2", f"unix:{agent.socket_path}") as terminal:
        frame = terminal.until("pid user cpu% rss s time command")
        assert [line.split()[0] for line in frame[1:7]] == ["system", "cpu", "memory", "pressure", "disk", "network"]
        terminal.press(b"p")
        frame = terminal.until("by pid")
        assert frame[8].split()[0] == "1"
        terminal.press(b"\x1b")
        terminal.until("by cpu")
        terminal.press(b"q")
        assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_restores_the_terminal(crowd: dict[str, str], number: signal.Signals) -> None:
    with Terminal("top", "-i", "0.2", **crowd) as terminal:
        terminal.until("30.0")
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number


def test_ctrl_z_stops_it_with_the_terminal_restored(crowd: dict[str, str]) -> None:
    with Terminal("top", "-i", "0.2", **crowd) as terminal:
        terminal.until("30.0")
        terminal.process.send_signal(signal.SIGTSTP)
        wait_for(lambda: os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOHANG) is not None)
        wait_for(lambda: "\x1b[?25h\x1b[?1049l" in terminal.text)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until("30.0")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_the_pictures_of_the_documentation_can_be_drawn(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tools.top_picture", str(tmp_path)], cwd=SOURCE.parent, check=True)
    for name, text in (("top.svg", "build"), ("top-detail.svg", "checkpointer")):
        drawn = (tmp_path / name).read_text()
        assert text in drawn
        assert text in (SOURCE.parent / "docs" / name).read_text()
        assert "http" not in re.sub('xmlns="[^"]*"|<!--.*?-->', "", drawn)


@pytest.mark.soak
def test_a_hundred_guests_take_a_small_part_of_a_core(
    tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = os.sysconf("SC_CLK_TCK")

    def used(pid: int) -> float:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / ticks

    for variables in serve_crowd(tmp_path, {f"guest{number:03}": "busy" for number in range(100)}):
        with Terminal("top", "-i", "1", **variables) as terminal:
            terminal.until("30.0")
            before, start = used(terminal.process.pid), time.monotonic()
            time.sleep(20)
            share = (used(terminal.process.pid) - before) / (time.monotonic() - start)
            terminal.press(b"q")
            assert terminal.end() == 0
    record_property("share of a core", round(share, 3))
    with capsys.disabled():
        print(f" [{share:.1%} of a core]", end="")
    assert share < 0.6
