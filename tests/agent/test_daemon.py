"""The daemon: it sleeps when idle, waits for its ports, and ends in good order."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import termios
import time
from base64 import b64decode
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.ends.client import RESET, HungUpError, LineClient
from tests.support import SOURCE, AgentProcess, wait_for


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_an_idle_agent_never_wakes_up(tmp_path: Path, seconds: int) -> None:
    missing = tmp_path / "ports" / "org.guest-agent.0"
    # Awake: it wakes up once to park.
    with AgentProcess(tmp_path, "-p", str(missing), "--park-after", "0") as agent, agent.connect() as client:
        client.call("file-stat", path="/")
        assert agent.comes_to_rest(seconds)
        before = agent.wake_ups()
        client.call("ping")
        # It is counted when the agent goes to sleep again.
        wait_for(lambda: agent.wake_ups() > before)


@pytest.mark.parametrize("how", ["signal", "request"])
def test_streams_are_reset_when_the_agent_stops(agent: AgentProcess, how: str) -> None:
    with agent.connect() as client, agent.connect() as idle:
        idle.call("ping")
        streams = {client.call("exec", argv=["sleep", "60"])["stream"] for _ in range(3)}
        if how == "signal":
            agent.process.terminate()
        else:
            assert client.call("agent-shutdown") is True
        texts = {}
        with contextlib.suppress(HungUpError):
            while True:
                frame = client.frame()
                if frame.type == RESET:
                    texts[frame.stream] = json.loads(frame.payload)
        assert streams <= set(texts)
        assert {(b64decode(text["bufb64"]), text["code"]) for text in texts.values()} == {
            (b"the agent is stopping", errno.ESHUTDOWN)
        }
        with pytest.raises(HungUpError):
            idle.line()
    assert agent.process.wait(20) == 0


def test_an_idle_agent_is_small(agent: AgentProcess) -> None:
    with agent.connect() as client:
        client.call("ping")
    # The real bound, 10.5 MB with the guest's own Python, is held in the guest.
    assert agent.memory() < 16 << 20


def test_the_agent_imports_only_what_it_needs_to_start() -> None:
    program = (
        "import sys; before = set(sys.modules); sys.argv = ['phoenix-ga']; import phoenix_ga.agent.daemon; "
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {program}"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    costly = {"typing", "logging", "dataclasses", "asyncio", "argparse", "subprocess", "pathlib", "threading"}
    costly |= {"socket", "ctypes", "hashlib", "configparser", "inspect", "tempfile", "ipaddress", "shutil"}
    assert not loaded & costly
    assert not {name for name in loaded if name.startswith("phoenix_ga.") and ".operations.network" in name}


def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(1 << 27)
    digest = hashlib.md5(bytes(1 << 27)).hexdigest()
    with AgentProcess(tmp_path, "--stop-timeout", "60") as agent, agent.connect() as client:
        client.ask("get-file-md5sum", "slow", path=str(slow))
        client.call("ping")
        agent.process.send_signal(signal.SIGTERM)
        assert client.answer() == {"return": digest, "tag": "slow"}
        assert agent.process.wait(10) == 0
        assert not agent.socket_path.exists()


def test_sigterm_does_not_wait_for_ever(tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    with endless.open("wb") as file:
        file.truncate(1 << 42)
    with AgentProcess(tmp_path, "--stop-timeout", "1") as agent, agent.connect() as client:
        client.ask("get-file-md5sum", path=str(endless))
        time.sleep(0.2)
        # The digest would take hours.
        assert agent.stop() == 0


def test_agent_shutdown_answers_and_exits_0(agent: AgentProcess, tmp_path: Path) -> None:
    with agent.connect() as client:
        assert client.call("agent-shutdown") is True
    assert agent.process.wait(5) == 0


def test_an_agent_that_was_killed_leaves_no_socket_in_the_way(agent: AgentProcess) -> None:
    agent.process.kill()
    agent.restart()
    with agent.connect() as client:
        assert client.call("ping") == __version__


def test_two_agents_never_share_a_socket(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(RuntimeError, match="another program listens there"):
        AgentProcess(tmp_path / "other", port=f"unix:{agent.socket_path}")
    with agent.connect() as client:
        assert client.call("ping") == __version__


def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(RuntimeError, match="a file that is not a socket is there"):
        AgentProcess(tmp_path, port=f"unix:{tmp_path}/precious")
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.root
def test_another_local_user_gets_nowhere(agent: AgentProcess) -> None:
    # Even where somebody opened up the permissions.
    os.chmod(agent.socket_path, 0o666)
    for directory in (agent.directory, *list(agent.directory.parents)[:3]):
        if directory != Path("/tmp"):
            os.chmod(directory, 0o755)
    program = f"""
import os, socket
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect({str(agent.socket_path)!r})
try:
    s.sendall(b'{{"execute": "ping"}}\\n')
    print(s.recv(100))
except ConnectionError:
    print(b"")
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=20).stdout
    assert said == b"b''\n"
    agent.wait_for_log("user 65534 may not talk to the agent")


def test_more_clients_than_the_limit_are_turned_away(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--max-clients", "2") as agent, agent.connect() as one, agent.connect() as two:
        assert one.call("ping") == two.call("ping") == __version__
        with agent.connect() as three:
            assert three.socket.recv(1) == b""
        one.close()
        deadline = time.monotonic() + 5
        while True:
            try:
                with agent.connect() as four:
                    assert four.call("ping") == __version__
                    break
            except (EOFError, ConnectionError):
                assert time.monotonic() < deadline


def test_clients_wait_while_there_is_no_file_descriptor_left(agent: AgentProcess) -> None:
    with agent.connect() as one:
        one.call("ping")
        taken = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        _, most = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (taken, most))
        with agent.connect() as two:
            agent.wait_for_log("cannot take a client now: Too many open files")
            with contextlib.ExitStack() as more:
                for _ in range(20):
                    more.enter_context(agent.connect())
                assert one.call("ping") == __version__
            resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (most, most))
            assert two.call("ping") == __version__
    assert agent.log().count("cannot take a client now") == 1


def test_a_socket_whose_queue_is_full_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as waiting:
        busy.bind(str(tmp_path / "busy"))
        busy.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(tmp_path / "busy"))
        with pytest.raises(RuntimeError, match="another program listens there"):
            AgentProcess(tmp_path, port=f"unix:{tmp_path}/busy")


class Terminal:
    """A pseudo-terminal, as a stand-in for a serial line: an agent at one end, a client at the other."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.path = os.ttyname(self.slave)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


def test_a_tty_is_served_in_raw_mode(tmp_path: Path) -> None:
    terminal = Terminal()
    with AgentProcess(tmp_path, port=f"tty:{terminal.path}"):
        os.write(terminal.master, b'{"execute": "ping", "tag": "\x03\x04"}\n{"execute": "ping"}\n')
        said = b""
        while said.count(b"\n") < 2:
            said += os.read(terminal.master, 1000)
        # Nothing was echoed, and no line end was changed.
        assert said.endswith(b'{"return": "%s"}\n' % __version__.encode())
        assert b"\r" not in said
        assert not termios.tcgetattr(terminal.slave)[3] & (termios.ICANON | termios.ECHO)
    terminal.close()


def test_a_port_that_appears_later_is_picked_up(tmp_path: Path) -> None:
    terminal = Terminal()
    path = tmp_path / "virtio-ports" / "deep" / "org.guest-agent.0"
    with AgentProcess(tmp_path, port=f"tty:{path}") as agent:
        agent.wait_for_log("waiting for it: No such file or directory")
        assert agent.comes_to_rest(1)
        path.parent.mkdir(parents=True)
        path.symlink_to(terminal.path)
        agent.wait_for_log(": open")
        os.write(terminal.master, b'{"execute": "ping"}\n')
        assert __version__.encode() in os.read(terminal.master, 1000)
    terminal.close()


def test_a_port_that_goes_away_and_comes_back_is_picked_up_again(tmp_path: Path) -> None:
    path = tmp_path / "port"
    with AgentProcess(tmp_path, port=f"tty:{path}") as agent:
        for round_number in range(1, 4):
            terminal = Terminal()
            path.symlink_to(terminal.path)
            agent.wait_for_log(": open", times=round_number)
            os.write(terminal.master, b'{"execute": "ping"}\n{"half')
            assert __version__.encode() in os.read(terminal.master, 1000)
            terminal.close()
            path.unlink()
        assert agent.comes_to_rest(1)


@pytest.mark.parametrize("path", ["/etc/hostname", "/etc", "/dev/null", "tty:/dev/null"])
def test_what_can_never_be_a_port_is_waited_for_without_spinning(tmp_path: Path, path: str) -> None:
    with AgentProcess(tmp_path, port=path) as agent:
        agent.wait_for_log("waiting for it")
        time.sleep(0.3)
        before = agent.wake_ups()
        time.sleep(1)
        assert agent.wake_ups() - before < 5


def test_a_log_file_gets_the_lines_and_is_opened_anew_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    # AgentProcess waits for a line on standard error, which this agent does not write.
    command = [
        sys.executable,
        "-m",
        "phoenix_ga.agent",
        "-p",
        f"unix:{tmp_path}/logged.sock",
        "--log-file",
        str(path),
    ]
    command += ["-c", "/dev/null", "--run-directory", str(tmp_path / "run")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    try:
        wait_for(lambda: path.exists() and "is up" in path.read_text())
        with LineClient.connect(tmp_path / "logged.sock") as client:
            client.call("directory-create", path=str(tmp_path / "one"))
            wait_for(lambda: "audit:" in path.read_text())
            path.rename(tmp_path / "audit.log.1")
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: path.exists())
            client.call("directory-create", path=str(tmp_path / "two"))
            wait_for(lambda: "two" in path.read_text())
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert path.read_text().splitlines()[-1].endswith("stopping")


def test_a_log_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{tmp_path}/s", "--log-file", "/no/such/dir/log"]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert (result.returncode, os.strerror(errno.ENOENT) in result.stderr) == (1, True)


def test_a_reader_of_standard_error_that_is_stuck_does_not_stop_the_agent(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    path = tmp_path / "s"
    command = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{path}", "--debug"]
    command += ["-c", "/dev/null", "--run-directory", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=writing, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    try:
        wait_for(path.exists)
        time.sleep(0.2)
        with LineClient.connect(path) as client:
            for _ in range(5000):
                assert client.call("ping") == __version__
    finally:
        process.terminate()
        assert process.wait(10) == 0
        os.close(reading)
        os.close(writing)


def test_a_reload_with_a_bad_port_keeps_the_ports_that_are_served(tmp_path: Path) -> None:
    first, second = f"port = unix:{tmp_path}/agent.sock", f"unix:{tmp_path}/other.sock"
    with AgentProcess(tmp_path, port="", config=f"[general]\n{first}\n") as agent:
        agent.config_path.write_text(f"[general]\n{first}, {second}, unix:/no/such/directory/port\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_log("a port can't be served: unix:/no/such/directory/port: No such file or directory")
        with agent.connect() as client, LineClient.connect(tmp_path / "other.sock") as other:
            assert (client.call("ping"), other.call("ping")) == (__version__, __version__)
