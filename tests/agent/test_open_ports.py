"""The sockets that wait for clients, on a small fake tree and as ss(8) shows them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from phoenix_ga.agent.operations import listening
from phoenix_ga.agent.operations.listening import listening_sockets
from tests.ends.client import LineClient

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def table(*rows: tuple[str, str, int]) -> str:
    """Return a file of /proc/net. rows: address, state and inode."""
    lines = (
        f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0 0 {inode} 1 0 100\n"
        for address, state, inode in rows
    )
    return HEAD + "".join(lines)


def test_only_sockets_without_a_peer_are_listed(tmp_path: Path) -> None:
    net = tmp_path / "proc" / "net"
    net.mkdir(parents=True)
    (net / "tcp").write_text(
        table(("0100007F:0016", "0A", 11), ("00000000:0050", "0A", 12), ("0100007F:0016", "01", 13))
    )
    (net / "udp").write_text(table(("0100007F:0035", "01", 14), ("0100007F:0035", "07", 15)))
    for pid, name, inodes in ((7, "sshd", (11,)), (8, "worker", (12, 15)), (9, "worker", (12,))):
        fds = tmp_path / "proc" / str(pid) / "fd"
        fds.mkdir(parents=True)
        (fds.parent / "comm").write_text(name + "\n")
        for inode in inodes:
            (fds / str(inode)).symlink_to(f"socket:[{inode}]")
        (fds / "0").symlink_to("/dev/null")
    (tmp_path / "proc" / "10").mkdir()
    found = listening_sockets(str(tmp_path))
    assert found["omitted"] == 0
    assert [
        (each["protocol"], each["address"], each["port"], [process["pid"] for process in each["processes"]])
        for each in found["sockets"]
    ] == [("tcp", "127.0.0.1", 22, [7]), ("tcp", "0.0.0.0", 80, [8, 9]), ("udp", "127.0.0.1", 53, [8])]
    assert found["sockets"][0]["processes"] == [{"pid": 7, "name": "sshd"}]


def test_the_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SOCKETS_MAX", 2)
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "tcp").write_text(table(*[("00000000:0050", "0A", inode) for inode in range(5)]))
    found = listening_sockets(str(tmp_path))
    assert (len(found["sockets"]), found["omitted"]) == (2, 3)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_of_this_process_is_found(client: LineClient, address: str, kind: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as own:
        own.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            own.listen()
        answer = client.call("socket-list")
        port = own.getsockname()[1]
        (found,) = [each for each in answer["sockets"] if (each["address"], each["port"]) == (address, port)]
    assert os.getpid() in [process["pid"] for process in found["processes"]]
    assert found["protocol"] == ("tcp" if kind == socket.SOCK_STREAM else "udp")


@pytest.mark.root
@pytest.mark.programs("ss")
def test_the_list_is_that_of_ss(ethernet: None) -> None:
    with contextlib.ExitStack() as stack:
        for family, address, port in (
            (socket.AF_INET, "127.0.0.1", 8001),
            (socket.AF_INET, "0.0.0.0", 8002),
            (socket.AF_INET6, "::1", 8003),
        ):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                own = stack.enter_context(socket.socket(family, kind))
                own.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    own.listen()
        stack.enter_context(socket.create_connection(("127.0.0.1", 8001)))
        result = subprocess.run(["ss", "-Htuln"], capture_output=True, text=True, check=True)
        found = listening_sockets()["sockets"]
    rows = [line.split() for line in result.stdout.splitlines()]
    expected = [(row[0], *row[4].replace("[", "").replace("]", "").rsplit(":", 1)) for row in rows]
    assert sorted((each["protocol"], each["address"], str(each["port"])) for each in found) == sorted(expected)
    assert len(expected) == 6
