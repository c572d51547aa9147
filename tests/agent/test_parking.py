"""Parking: an idle agent becomes the waiter and comes back, and nobody notices but the memory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.operations.freeze.record import RELEASED, FreezeRecord
from phoenix_ga.agent.parking import is_alone
from phoenix_ga.wire.json_text import decode_json, encode_json
from tests.ends.client import LineClient, RefusedError
from tests.support import SOURCE, AgentProcess, wait_for
from tools import build_native

pytestmark = pytest.mark.programs("cc")


@pytest.fixture(scope="module", autouse=True)
def waiter() -> None:
    """Have the waiter where an agent that runs from a checkout looks for it."""
    if build_native.compiler(os.uname().machine) is None:
        pytest.skip("needs a C compiler")
    build_native.build()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path, "--park-after", "1") as process:
        yield process


def is_parked(pid: int) -> bool:
    return "phoenix-wait" in os.readlink(f"/proc/{pid}/exe")


def wait_until_parked(agent: AgentProcess) -> None:
    wait_for(lambda: is_parked(agent.process.pid))


def stays_awake(agent: AgentProcess) -> bool:
    """Return whether the agent has not parked after more than its time."""
    time.sleep(2.5)
    return not is_parked(agent.process.pid)


def resident(pid: int) -> int:
    """Return the resident memory of a process, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def test_an_idle_agent_parks_and_a_client_wakes_it(agent: AgentProcess) -> None:
    pid = agent.process.pid
    for _ in range(3):
        wait_until_parked(agent)
        assert resident(pid) < 100
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "phoenix-ga\n")
        assert os.listdir(f"/proc/{pid}/task") == [str(pid)]
        assert agent.comes_to_rest(0.5)
        with agent.connect() as client:
            assert client.call("ping") == __version__
            # A connection keeps it awake.
            assert not is_parked(pid)
    assert agent.process.poll() is None


def test_only_debug_lines_tell_of_it(tmp_path: Path) -> None:
    (tmp_path / "debug").mkdir()
    (tmp_path / "quiet").mkdir()
    with AgentProcess(tmp_path / "quiet", "--park-after", "1") as agent:
        before = agent.log()
        wait_until_parked(agent)
        with agent.connect() as client:
            client.call("ping")
        assert agent.log() == before
    with AgentProcess(tmp_path / "debug", "--park-after", "1", "--debug") as agent:
        wait_until_parked(agent)
        with agent.connect() as client:
            client.call("ping")
        assert [line.split(" ", 1)[1] for line in agent.log().splitlines()][2:4] == [
            "parking",
            f"phoenix-ga {__version__} is awake",
        ]


def test_the_debug_line_gets_into_a_log_file_too(tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    config = f"[general]\npark-after = 1\ndebug = true\nlog-file = {path}\n"
    (tmp_path / "phoenix-ga.conf").write_text(config)
    command = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{tmp_path}/s", "-c"]
    command += [str(tmp_path / "phoenix-ga.conf"), "--run-directory", str(tmp_path / "run")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    try:
        wait_for(lambda: is_parked(process.pid))
        assert path.read_text().splitlines()[-1].endswith(" parking")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert path.read_text().splitlines()[-1].endswith(" stopping")


def test_a_signal_while_parked_ends_it_in_good_order(agent: AgentProcess) -> None:
    wait_until_parked(agent)
    assert agent.stop() == 0
    assert agent.log().splitlines()[-1].endswith(" stopping")
    assert not agent.socket_path.exists()


def test_options_are_those_of_the_last_reload(tmp_path: Path) -> None:
    port = f"port = unix:{tmp_path}/agent.sock"
    config = f"[general]\n{port}\npark-after = 1\n"
    with AgentProcess(tmp_path, port="", config=config) as agent:
        wait_until_parked(agent)
        # Not reloaded, so of no consequence.
        agent.config_path.write_text("[general]\nno such option = 1\n")
        with agent.connect() as client:
            assert client.call("ping") == __version__
        wait_until_parked(agent)
        agent.config_path.write_text(f"[general]\n{port}\npark-after = 1\nblock = file-*\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_log("the configuration was read again")
        wait_until_parked(agent)
        with agent.connect() as client, pytest.raises(RefusedError) as caught:
            client.call("file-stat", path="/")
        assert caught.value.code == errno.EPERM


def test_handles_and_streams_keep_counting(agent: AgentProcess) -> None:
    handles, streams = [], []
    for _ in range(2):
        wait_until_parked(agent)
        with agent.connect() as client:
            handles.append(client.call("file-open", path="/etc/passwd"))
            client.call("file-close", handle_id=handles[-1])
            client.ask("file-get", path="/etc/passwd", tag=1)
            while isinstance(unit := client.whole_unit(), bytes):
                streams.append(json.loads(unit)["return"]["stream"])
    assert handles[1] == handles[0] + 1
    assert streams[1] > streams[0]


def test_an_open_file_keeps_it_awake(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--park-after", "1", "--debug") as agent:
        with agent.connect() as client:
            handle = client.call("file-open", path="/etc/passwd")
        assert stays_awake(agent)
        assert "parking" not in agent.log()
        with agent.connect() as client:
            client.call("file-close", handle_id=handle)
        wait_until_parked(agent)


def test_a_thread_that_may_be_stuck_keeps_it_awake() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    others = len(os.listdir("/proc/self/task")) - 1
    thread.start()
    assert not is_alone(others)
    stop.set()
    thread.join()


def test_a_file_of_the_other_dialect_keeps_it_awake(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.ask("guest-file-open", path="/etc/passwd")
        handle = client.answer()["return"]
    assert stays_awake(agent)
    with agent.connect() as client:
        client.ask("guest-file-close", handle=handle)
        assert client.answer() == {"return": {}}
    wait_until_parked(agent)


def test_a_client_that_is_connected_keeps_it_awake(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.call("ping")
        assert stays_awake(agent)
    wait_until_parked(agent)


def test_a_program_keeps_it_awake_and_so_does_its_result(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.ask("guest-exec", path="/bin/sleep", arg=["3"])
        pid = client.answer()["return"]["pid"]
    assert stays_awake(agent)
    wait_for(lambda: agent.children() == [])
    assert stays_awake(agent)
    with agent.connect() as client:
        client.ask("guest-exec-status", pid=pid)
        assert client.answer()["return"]["exited"]


def test_what_was_measured_does_not_keep_it_awake(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.call("get-digests")
    wait_until_parked(agent)


def test_without_a_waiter_it_stays_awake_and_says_so_once(tmp_path: Path) -> None:
    # A copy of the modules is not in a checkout with a build directory.
    subprocess.run(["cp", "-r", str(SOURCE / "phoenix_ga"), str(tmp_path / "modules")], check=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "modules").rename(tmp_path / "lib" / "phoenix_ga")
    options = ["-p", f"unix:{tmp_path}/s", "-c", "/dev/null", "--run-directory", str(tmp_path / "run")]
    command = [sys.executable, "-m", "phoenix_ga.agent", *options, "--park-after", "1"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")})
    try:
        text = f"stays awake when idle: there is no phoenix-wait for {os.uname().machine}"
        wait_for(lambda: text in (tmp_path / "log").read_text())
        for _ in range(2):
            with LineClient.connect(tmp_path / "s") as client:
                assert client.call("ping") == __version__
            time.sleep(1.5)
        assert (tmp_path / "log").read_text().count("stays awake") == 1
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_zero_is_never(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--park-after", "0") as agent:
        assert stays_awake(agent)


def test_a_variable_of_another_process_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"pid": 1, "config": {"port": ["unix:/nowhere/x"]}, "ports": {}, "stream": 1, "handle": 1}
    for text in (json.dumps(state), "[]", "{", ""):
        monkeypatch.setenv("PHOENIX_GA_PARKED", text)
        with AgentProcess(tmp_path) as agent, agent.connect() as client:
            assert client.call("ping") == __version__
            agent.stop()
        agent.log_path.unlink()


def test_programs_do_not_inherit_what_the_agent_knew(agent: AgentProcess) -> None:
    wait_until_parked(agent)
    with agent.connect() as client:
        client.ask("guest-exec", **{"path": "/usr/bin/env", "capture-output": True})
        pid = client.answer()["return"]["pid"]

        def output() -> str:
            client.ask("guest-exec-status", pid=pid)
            answer = client.answer()["return"]
            return str(answer.get("out-data", "-")) if answer["exited"] else ""

        wait_for(lambda: output() != "")
        assert b"PATH=" in b64decode(output())
        assert b"PHOENIX_GA_PARKED" not in b64decode(output())
    # SIGTERM is not blocked in a program that a woken agent starts.
    with agent.connect() as client:
        client.ask("guest-exec", path="/bin/sleep", arg=["60"])
        pid = client.answer()["return"]["pid"]
        blocked = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk")
        )
        assert int(blocked.split()[1], 16) == 0
        os.kill(pid, signal.SIGTERM)


class Serial:
    """A serial line with an agent at one end, which parks after a second; what is sent at the other end stays."""

    def __init__(self, directory: Path) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.agent = AgentProcess(directory, "--park-after", "1", port=f"tty:{os.ttyname(self.slave)}")
        self.answers = b""

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    def line(self) -> bytes:
        while b"\n" not in self.answers:
            self.answers += os.read(self.master, 4096)
        line, _, self.answers = self.answers.partition(b"\n")
        return line

    def close(self) -> None:
        self.agent.__exit__()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def serial(tmp_path: Path) -> Iterator[Serial]:
    made = Serial(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_session_outlives_parking(serial: Serial) -> None:
    serial.send(b'\xff{"execute": "sync", "arguments": {"id": 77}}\n')
    assert serial.line() == b'\xff{"return": 77}'
    wait_until_parked(serial.agent)
    serial.send(b'{"execute": "get-session"}\n')
    assert serial.line() == b'{"return": 77}'
    wait_until_parked(serial.agent)
    serial.send(b'{"execute": "get-session"}\n')
    assert serial.line() == b'{"return": 77}'


def test_a_dialect_outlives_parking(serial: Serial) -> None:
    serial.send(b'{"execute": "guest-ping"}\n')
    assert serial.line() == b'{"return": {}}'
    wait_until_parked(serial.agent)
    serial.send(b"[]\n")
    assert json.loads(serial.line())["error"]["class"] == "GenericError"
    wait_until_parked(serial.agent)
    # Over several lines, as clients of qemu-ga may write.
    serial.send(b'{\n"execute":\n"guest-ping"\n}\n')
    assert serial.line() == b'{"return": {}}'


def test_a_wait_keeps_it_awake(serial: Serial, tmp_path: Path) -> None:
    request = {"execute": "wait-for", "arguments": {"conditions": [f"path={tmp_path}/file"]}}
    serial.send(json.dumps(request).encode() + b"\n")
    assert "stream" in json.loads(serial.line())["return"]
    assert stays_awake(serial.agent)
    (tmp_path / "file").touch()
    # The frames are binary, and the line is in the first.
    assert b'"found": "%s/file"' % os.fsencode(tmp_path) in serial.line()
    wait_until_parked(serial.agent)


def test_half_a_request_keeps_it_awake_until_the_rest_arrives(serial: Serial) -> None:
    serial.send(b'{"execute": "ping", ')
    assert stays_awake(serial.agent)
    serial.send(b'"tag": 5}\n')
    assert json.loads(serial.line()) == {"return": __version__, "tag": 5}


def test_no_byte_is_lost_whenever_it_comes(serial: Serial) -> None:
    choose = random.Random(1)
    for number in range(12):
        time.sleep(choose.uniform(0.8, 1.3))
        request = b'{"execute": "ping", "tag": %d}\n' % number
        for start in range(0, len(request), 7):
            serial.send(request[start : start + 7])
            time.sleep(choose.choice([0, 0, 0.01, 0.05]))
        assert json.loads(serial.line()) == {"return": __version__, "tag": number}
    assert serial.answers == b""


def test_requests_at_random_moments_are_each_answered_once(agent: AgentProcess) -> None:
    choose = random.Random(2)
    parked = 0
    for cycle in range(15):
        time.sleep(choose.uniform(0.7, 1.4))
        parked += is_parked(agent.process.pid)
        answers: list[int] = []

        def talk(base: int, answers: list[int] = answers) -> None:
            with agent.connect() as client:
                client.sync(base + 1)
                for tag in range(base, base + 20):
                    client.ask("ping", tag)
                answers += [client.answer()["tag"] for _ in range(20)]
                client.socket.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.line()

        threads = [threading.Thread(target=talk, args=(cycle * 1000 + each * 100,)) for each in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [cycle * 1000 + each * 100 + tag for each in range(3) for tag in range(20)]
    assert parked > 0


def test_signals_at_random_moments_are_never_lost(tmp_path: Path) -> None:
    choose = random.Random(3)
    for number in range(6):
        directory = tmp_path / str(number)
        directory.mkdir()
        with AgentProcess(directory, "--park-after", "1") as agent:
            time.sleep(choose.uniform(0.9, 1.15))
            assert agent.stop() == 0


def test_a_missing_port_is_found_while_parked(tmp_path: Path) -> None:
    path = tmp_path / "ports" / "one"
    master, slave = pty.openpty()
    with AgentProcess(tmp_path, "--park-after", "1", port=f"tty:{path}") as agent:
        agent.wait_for_log("waiting for it")
        wait_until_parked(agent)
        path.parent.mkdir()
        path.symlink_to(os.ttyname(slave))
        agent.wait_for_log(": open")
        os.write(master, b'{"execute": "ping"}\n')
        assert __version__.encode() in os.read(master, 1000)
        assert agent.log().count("waiting for it") == 1
    os.close(master)
    os.close(slave)


def test_a_tty_that_goes_away_while_parked_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "port"
    with AgentProcess(tmp_path, "--park-after", "1", port=f"tty:{path}") as agent:
        for round_number in range(1, 3):
            master, slave = pty.openpty()
            path.symlink_to(os.ttyname(slave))
            agent.wait_for_log(": open", times=round_number)
            wait_until_parked(agent)
            path.unlink()
            os.close(master)
            os.close(slave)


@pytest.mark.parametrize("inherited", [False, True])
def test_the_agent_in_the_place_of_qemu_ga_parks_too(
    tmp_path: Path, inherited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGA_CONF", str(tmp_path / "qemu-ga.conf"))
    path = tmp_path / "socket"
    program = [sys.executable, "-m", "phoenix_ga.agent.qemu_ga", "-t", str(tmp_path), "--park-after", "1"]
    program += ["-b", "guest-info"] if inherited else ["-b", "guest-info", "-m", "unix-listen", "-p", str(path)]
    with contextlib.ExitStack() as stack:
        if inherited:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(path))
            listening.listen()
            # As systemd does: the socket is number 3, and the variables name the process itself.
            start = f"""
import os, sys
os.dup2({listening.fileno()}, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, {program!r})
"""
            program = [sys.executable, "-c", start]
            process = subprocess.Popen(
                program, pass_fds=[listening.fileno()], env={**os.environ, "PYTHONPATH": str(SOURCE)}
            )
        else:
            process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": str(SOURCE)})
        try:
            for _ in range(2):
                wait_for(lambda: is_parked(process.pid))
                with LineClient.connect(path) as client:
                    client.send(b'{"execute": "guest-ping"}')
                    assert client.answer() == {"return": {}}
                    client.send(b'{"execute": "guest-info"}')
                    assert client.answer()["error"]["class"] == "CommandNotFound"
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_what_is_known_of_a_freeze_outlives_parking() -> None:
    record = FreezeRecord()
    record.begin()
    record.points = ["/"]
    record.skipped = [("/mnt", "not supported")]
    record.hold()
    record.begin_thaw(RELEASED)
    record.end()
    later = FreezeRecord()
    later.restore(decode_json(encode_json(record.park())))
    later.check_held(record.generation)
    assert later.as_object() == record.as_object()
