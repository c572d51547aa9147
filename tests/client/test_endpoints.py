"""Endpoints that are no Unix sockets: terminals, TCP and vsock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.cli.paths import split_guest_path
from phoenix_ga.client import ConnectError, EndpointError, KnownGuest, connect_sync
from phoenix_ga.client.endpoints import LIBVIRT_KINDS, split_endpoint, split_libvirt
from phoenix_ga.client.pty import open_pty
from tests.support import AgentProcess


def relay(left: int, right: int) -> None:
    """Carry bytes between two descriptors, until one of them ends."""
    while True:
        for fd in select.select([left, right], [], [])[0]:
            try:
                data = os.read(fd, 65536)
                if not data:
                    return
                while data:
                    data = data[os.write(right if fd == left else left, data) :]
            except OSError:
                return


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[str]:
    """A terminal whose other end is an agent's, as QEMU's `-chardev pty` and `isa-serial` are."""
    (host, host_end), (guest, guest_end) = pty.openpty(), pty.openpty()
    with AgentProcess(tmp_path, port=f"tty:{os.ttyname(guest_end)}"):
        threading.Thread(target=relay, args=(host, guest), daemon=True).start()
        yield os.ttyname(host_end)
    for fd in (host, host_end, guest, guest_end):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_a_guest_behind_a_terminal_is_talked_to_and_the_terminal_left_as_it_was(
    terminal: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4000)
    fd = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    before = termios.tcgetattr(fd)
    for _ in range(2):
        with connect_sync(f"pty:{terminal}") as guest:
            assert guest.ping() == __version__
            guest.get(str(tmp_path / "file"), tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()
            assert termios.tcgetattr(fd) != before
        assert termios.tcgetattr(fd) == before
    os.close(fd)


def test_a_terminal_serves_one_client_at_a_time(terminal: str) -> None:
    with connect_sync(f"pty:{terminal}") as guest:
        with pytest.raises(ConnectError, match="another program uses"), connect_sync(f"pty:{terminal}"):
            pass
        assert guest.ping() == __version__


def test_closing_a_terminal_again_touches_no_other_file(terminal: str) -> None:
    async def conversation() -> None:
        transport = await open_pty(terminal)
        await transport.close()
        await asyncio.sleep(0)
        # It takes the numbers of the descriptors that were closed.
        other, others_end = pty.openpty()
        tty.setraw(others_end)
        before = termios.tcgetattr(others_end)
        copies = [os.dup(others_end) for _ in range(8)]
        await transport.close()
        assert termios.tcgetattr(others_end) == before
        for fd in (other, others_end, *copies):
            os.close(fd)

    asyncio.run(conversation())


@pytest.mark.parametrize(("path", "complaint"), [("/dev/null", "not a terminal"), ("/none", "No such file")])
def test_what_is_no_terminal_is_said_to_be_none(path: str, complaint: str) -> None:
    with pytest.raises(ConnectError, match=complaint), connect_sync(f"pty:{path}"):
        pass


@pytest.fixture
def tcp_port(agent: AgentProcess) -> Iterator[int]:
    """A TCP port behind which there is an agent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, socket.socket(socket.AF_UNIX) as behind:
                        behind.connect(str(agent.socket_path))
                        relay(client.fileno(), behind.fileno())

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def test_tcp_is_refused_unless_it_is_asked_for(tcp_port: int) -> None:
    endpoint = f"tcp:127.0.0.1:{tcp_port}"
    with pytest.raises(EndpointError, match="--allow-tcp"), connect_sync(endpoint):
        pass
    with connect_sync(endpoint, allow_tcp=True) as guest:
        assert guest.ping() == __version__


def test_tcp_is_fine_for_a_guest_that_the_configuration_allows_it(
    tcp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phoenix").mkdir()
    (tmp_path / "phoenix" / "config.toml").write_text(
        f'[guests]\nlab = {{ endpoint = "tcp:127.0.0.1:{tcp_port}", allow-tcp = true }}\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with connect_sync("lab") as guest:
        assert guest.ping() == __version__


def test_a_guest_that_is_known_can_be_connected_to_as_it_is(agent: AgentProcess) -> None:
    with connect_sync(KnownGuest("web1", f"unix:{agent.socket_path}", "a test")) as guest:
        assert (guest.name, guest.ping()) == ("web1", __version__)


def test_nobody_at_a_tcp_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = f"tcp:127.0.0.1:{port}"
    with pytest.raises(ConnectError, match="refused"), connect_sync(endpoint, allow_tcp=True):
        pass


def test_no_guest_behind_a_vsock_address() -> None:
    with (
        pytest.raises(ConnectError, match=r"vsock:4000000000"),
        connect_sync("vsock:4000000000", connect_timeout=30),
    ):
        pass


@pytest.mark.parametrize(
    "endpoint",
    ["vsock:x", "vsock:3:y", "vsock:-1", "vsock:3:4294967296", "tcp:h", "tcp:h:65536", "tcp:::1:4", "tcp:[]:4"],
)
def test_numbers_that_are_none(endpoint: str) -> None:
    with pytest.raises(EndpointError), connect_sync(endpoint, allow_tcp=True):
        pass


@pytest.mark.parametrize("endpoint", ["unix:~/agent.sock", "~/agent.sock"])
def test_a_tilde_is_the_home_directory(agent: AgentProcess, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HOME", str(Path(agent.socket_path).parent))
    with connect_sync(endpoint) as guest:
        assert guest.ping() == __version__


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("qemu:///system/web1", ("qemu:///system", "web1")),
        ("qemu+ssh://root@vh1:22/system/web 1", ("qemu+ssh://root@vh1:22/system", "web 1")),
        ("qemu+unix:///system?socket=/run/x/sock/web1", ("qemu+unix:///system?socket=/run/x/sock", "web1")),
    ],
)
def test_a_domain_follows_the_uri_of_its_libvirt(address: str, expected: tuple[str, str]) -> None:
    assert split_libvirt(address) == expected
    for kind in LIBVIRT_KINDS:
        assert split_endpoint(f"{kind}:{address}") == (kind, address)
        assert split_guest_path(f"{kind}:{address}:/etc/x") == (f"{kind}:{address}", "/etc/x")


@pytest.mark.parametrize("address", ["web1", "/web1", "qemu:///system/", "system/web1"])
def test_a_domain_without_a_uri_is_no_endpoint(address: str) -> None:
    with pytest.raises(EndpointError, match="not of the form libvirt:URI/DOMAIN"):
        split_endpoint(f"libvirt:{address}")


def test_libvirt_python_is_asked_for_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(ConnectError, match="python3-libvirt"):
        connect_sync("libvirt:qemu:///system/web1").__enter__()
