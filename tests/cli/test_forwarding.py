"""`proxy`, `forward` and `ssh-config`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from phoenix_ga.cli.address import Address, parse_forward, parse_target
from tests.cli.conftest import Run, command_line, environment
from tests.support import wait_for

HERE = "127.0.0.1"


@pytest.mark.parametrize(
    ("word", "listen", "connect"),
    [
        ("8080", Address(HERE, 8080), Address(HERE, 8080)),
        ("8099:80", Address(HERE, 8099), Address(HERE, 80)),
        ("0:80", Address(HERE, 0), Address(HERE, 80)),
        ("8080:web:80", Address(HERE, 8080), Address("web", 80)),
        (":8080:web:80", Address(HERE, 8080), Address("web", 80)),
        ("*:8080:web:80", Address("0.0.0.0", 8080), Address("web", 80)),
        ("10.0.0.1:8080:web:80", Address("10.0.0.1", 8080), Address("web", 80)),
        ("[::1]:8080:[fe80::1%eth0]:80", Address("::1", 8080), Address("fe80::1%eth0", 80)),
        ("/tmp/a.sock:web:80", Address(path="/tmp/a.sock"), Address("web", 80)),
        ("8080:/run/b.sock", Address(HERE, 8080), Address(path="/run/b.sock")),
        ("/tmp/a.sock:/run/b.sock", Address(path="/tmp/a.sock"), Address(path="/run/b.sock")),
    ],
)
def test_forwards_are_written_as_for_ssh(word: str, listen: Address, connect: Address) -> None:
    assert parse_forward(word) == (listen, connect)


@pytest.mark.parametrize(
    "word", ["", "0", "web", "80:web", "x:web:80", "80:web:x", "80:web:99999", "a:b:c:d:e", "80:::1:80"]
)
def test_what_is_no_forward_is_wrong_usage(word: str) -> None:
    with pytest.raises(click.UsageError):
        parse_forward(word)


def test_a_target_alone() -> None:
    assert parse_target("localhost:22") == Address("localhost", 22)
    assert parse_target("/run/x.sock") == Address(path="/run/x.sock")
    with pytest.raises(click.UsageError):
        parse_target("localhost")
    with pytest.raises(click.UsageError):
        parse_target("22")


def serve(listener: socket.socket) -> None:
    """Answer each client with what it sent, and its size, when it has sent all."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            data = b""
            while piece := connection.recv(65536):
                data += piece
            connection.sendall(data + b" %d" % len(data))


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server, which stands for one in the guest or on this host."""
    with socket.create_server((HERE, 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ask(address: tuple[str, int] | str, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@contextlib.contextmanager
def forwarding(*words: str) -> Iterator[list[str]]:
    """Run `forward` and yield the lines that it says at first, one for each forward."""
    process = subprocess.Popen(command_line("forward", *words), stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    yield [process.stderr.readline().strip() for word in words if ":" in word[1:] and not word.startswith("unix:")]
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=10)
    assert (process.returncode, rest.strip()) == (130, "")


def test_proxy_carries_bytes_and_both_ends(endpoint: str, server: int) -> None:
    data = os.urandom(200_000)
    command = command_line("proxy", endpoint, f"{HERE}:{server}")
    result = subprocess.run(command, input=data, capture_output=True, env=environment(), timeout=20)
    assert result.stdout == data + b" 200000"


def test_proxy_to_nobody_says_so(run: Run, endpoint: str) -> None:
    result = run("proxy", endpoint, f"{HERE}:1")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr


def test_sockets_of_the_guest_appear_here(endpoint: str, server: int, tmp_path: Path) -> None:
    path = f"{tmp_path}/here.sock"
    with forwarding(endpoint, f"0:{HERE}:{server}", "-L", f"{path}:{HERE}:{server}") as lines:
        match = re.fullmatch(rf"{HERE}:(\d+) -> {HERE}:{server} in the guest", lines[0])
        assert match is not None
        for _ in range(3):
            assert ask((HERE, int(match[1])), b"hello") == b"hello 5"
        assert ask(path, b"x" * 1_000_000) == b"x" * 1_000_000 + b" 1000000"


def test_sockets_of_this_host_appear_in_the_guest(endpoint: str, server: int, tmp_path: Path) -> None:
    path = f"{tmp_path}/there.sock"
    with forwarding(endpoint, "-R", f"0:{HERE}:{server}", "-R", f"{path}:{HERE}:{server}") as lines:
        match = re.fullmatch(rf"{HERE}:(\d+) in the guest -> {HERE}:{server}", lines[0])
        assert match is not None
        assert ask((HERE, int(match[1])), b"hello") == b"hello 5"
        assert ask(path, b"hello") == b"hello 5"
    assert not Path(path).exists()


def test_a_connection_to_nobody_is_closed_and_the_others_go_on(endpoint: str, server: int) -> None:
    process = subprocess.Popen(
        command_line("forward", endpoint, f"0:{HERE}:1", f"0:{HERE}:{server}"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    ports = [int(process.stderr.readline().split()[0].rpartition(":")[2]) for _ in range(2)]
    assert ask((HERE, ports[0]), b"") == b""
    assert "Connection refused" in process.stderr.readline()
    assert ask((HERE, ports[1]), b"hello") == b"hello 5"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


@pytest.mark.programs("ssh")
def test_ssh_config_is_one_that_ssh_reads(run: Run, tmp_path: Path) -> None:
    result = run("ssh-config", "-u", "admin", "web1=unix:/run/a b%.sock", "web2=/run/web2.sock")
    (tmp_path / "config").write_text(result.stdout)
    shown = subprocess.run(
        ["ssh", "-G", "-F", tmp_path / "config", "web1.phoenix"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "user admin" in shown
    assert any(line.startswith("proxycommand ") and "'unix:/run/a b%%.sock' 127.0.0.1:22" in line for line in shown)
    for wrong in ("=x", "a b=x", "web1="):
        assert "NAME=GUEST" in run("ssh-config", wrong).stderr
    assert "no guest" in run("ssh-config", "no-such-guest").stderr


def test_ssh_config_of_names_and_patterns(run: Run, tmp_path: Path) -> None:
    (tmp_path / "phoenix").mkdir()
    names = "sources = []\n[guests]\nweb1 = '/run/web1.sock'\nweb2 = '/run/web2.sock'\ndb = '/run/db.sock'\n"
    (tmp_path / "phoenix" / "config.toml").write_text(names)
    result = run("ssh-config", "db", "web*", XDG_CONFIG_HOME=str(tmp_path))
    hosts = [line for line in result.stdout.splitlines() if line.startswith("Host ")]
    assert hosts == ["Host db.phoenix", "Host web1.phoenix", "Host web2.phoenix"]
    assert "proxy web2 127.0.0.1:22" in result.stdout


def test_ctrl_c_is_quiet_while_connections_are_open(endpoint: str, server: int) -> None:
    with forwarding(endpoint, f"0:{HERE}:{server}") as lines:
        port = int(lines[0].split()[0].rpartition(":")[2])
        connection = socket.create_connection((HERE, port))
        connection.sendall(b"open")
        wait_for(lambda: connection.getsockname() is not None)
    connection.close()


def listening_on(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_socket_that_somebody_listens_on_is_left_alone(run: Run, endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with listening_on(path):
        before = path.stat().st_ino
        result = run("forward", endpoint, "-L", f"{path}:{HERE}:1")
        assert (result.returncode, path.stat().st_ino) == (1, before)
        assert f"this host: {path}: another program listens on this socket" in result.stderr
    (tmp_path / "file").write_text("mine")
    assert "not a socket" in run("forward", endpoint, "-L", f"{tmp_path}/file:{HERE}:1").stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_dead_socket_is_replaced_by_one_for_us_alone_that_is_removed(
    endpoint: str, server: int, tmp_path: Path
) -> None:
    path = tmp_path / "dead.sock"
    listening_on(path).close()
    with forwarding(endpoint, "-L", f"{path}:{HERE}:{server}"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert ask(str(path), b"hello") == b"hello 5"
    assert not path.exists()


@pytest.mark.root
def test_a_dead_socket_of_another_user_is_left_alone(run: Run, endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    listening_on(path).close()
    os.chown(path, 65534, 65534)
    result = run("forward", endpoint, "-L", f"{path}:{HERE}:1")
    assert (result.returncode, "socket of another user" in result.stderr) == (1, True)
    assert path.exists()
