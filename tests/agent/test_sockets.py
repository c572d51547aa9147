"""Connecting to sockets of the guest."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from phoenix_ga.agent.operations.sockets import connect_tcp


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """The address of a listener that accepts nothing and whose backlog is full."""
    clients = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(4):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(address)
        yield address
    for client in clients:
        client.close()


def test_a_connection_that_takes_too_long_has_timed_out(full: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="timed out") as caught:
        connect_tcp(*full, 0.1)
    assert caught.value.errno == errno.ETIMEDOUT
