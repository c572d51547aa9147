"""Reading a port: whatever pieces the driver hands out, all of it comes, and in order."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from select import EPOLLIN
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.core import channel as channel_module
from phoenix_ga.agent.core.channel import Channel
from phoenix_ga.agent.core.loop import Loop

ELEMENT = 4096


class Driver:
    """Hands out buffers as the kernel's virtio console does: one for each element, and no more behind a short one.

    Behind each of `arrivals`, there is nothing until the next edge.
    """

    def __init__(self, arrivals: list[list[bytes]]) -> None:
        self.arrivals = arrivals
        self.buffers: list[bytes] = []

    def readv(self, fd: int, elements: list[memoryview]) -> int:
        if not self.buffers:
            raise BlockingIOError
        size = 0
        for element in elements:
            if not self.buffers:
                break
            buffer = self.buffers.pop(0)
            taken = min(len(element), len(buffer))
            element[:taken] = buffer[:taken]
            size += taken
            if taken < len(buffer):
                self.buffers.insert(0, buffer[taken:])
            if taken < len(element):
                break
        return size

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class Soon:
    """As much of a loop as a channel needs to read."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def modify(self, fd: int, events: int) -> None:
        pass

    def watch(self, fd: int, callback: object, events: int) -> None:
        pass


def buffers_of(sizes: list[int]) -> list[bytes]:
    return [os.urandom(size) for size in sizes]


def start_channel(loop: Soon, fd: int, received: Callable[[memoryview], None]) -> Channel:
    channel = Channel(cast(Loop, loop), fd, connected=True)
    channel.start(received, lambda: None, lambda: None, lambda: None, lambda error: None)
    return channel


BUFFER_SIZES = st.lists(st.sampled_from([1, 100, 4095, 4096, 4096, 4096, 4096, 4096]), min_size=1, max_size=150)


def test_more_than_much_may_come_before_a_read_has_needed_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in an agent that has just started.
    monkeypatch.setattr(channel_module, "_all", [])
    driver, loop, received = Driver([]), Soon(), bytearray()
    ours, theirs = socket.socketpair()
    channel = start_channel(loop, ours.fileno(), received.extend)
    buffers = buffers_of([ELEMENT, ELEMENT, ELEMENT, 100, ELEMENT, ELEMENT, 7])
    sent = b"".join(buffers)
    with ours, theirs:
        monkeypatch.setattr(channel_module, "os", driver)
        driver.buffers.extend(buffers)
        channel._happened(EPOLLIN)
        while loop.callbacks:
            loop.callbacks.pop(0)()
    assert received == sent


@given(st.lists(BUFFER_SIZES.map(buffers_of), min_size=1, max_size=4))
def test_all_that_a_driver_hands_out_comes_in_order(arrivals: list[list[bytes]]) -> None:
    sent = b"".join(b"".join(buffers) for buffers in arrivals)
    driver, loop, received = Driver(arrivals), Soon(), bytearray()
    ours, theirs = socket.socketpair()
    channel = start_channel(loop, ours.fileno(), received.extend)
    with pytest.MonkeyPatch.context() as patch, ours, theirs:
        patch.setattr(channel_module, "os", driver)
        for buffers in arrivals:
            driver.buffers.extend(buffers)
            # An edge is told once: the channel must read on by itself until there is no more.
            channel._happened(EPOLLIN)
            while loop.callbacks:
                loop.callbacks.pop(0)()
            assert not driver.buffers
    assert received == sent


def test_bytes_that_arrive_before_poll_connected_are_read_without_an_edge() -> None:
    loop, received = Soon(), bytearray()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        channel = start_channel(loop, ours.fileno(), received.extend)
        theirs.sendall(b"request")
        channel.poll_connected()
        while loop.callbacks:
            loop.callbacks.pop(0)()
    assert received == b"request"


@given(st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=5), min_size=1, max_size=20))
def test_what_is_written_at_once_or_later_comes_in_order(frames: list[list[int]]) -> None:
    """Frames for which a small socket has no room wait; nothing is written before them."""
    loop, received, sent, waiting = Loop(), bytearray(), bytearray(), list(frames)
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    theirs.setblocking(False)

    def write() -> None:
        while waiting and not channel.output_size:
            pieces = [memoryview(os.urandom(size)) for size in waiting.pop(0)]
            sent.extend(b"".join(pieces))
            channel.write(pieces)

    def read(events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := theirs.recv(1000):
                received.extend(data)
        if not waiting and len(received) == len(sent):
            loop.stop()

    with ours, theirs:
        channel = Channel(loop, os.dup(ours.fileno()), connected=True)
        channel.start(lambda data: None, write, loop.stop, loop.stop, lambda error: loop.stop())
        loop.watch(theirs.fileno(), read)
        loop.call_soon(write)
        loop.call_soon(read, 0)
        loop.call_later(30, loop.stop)
        loop.run()
        channel.close()
    assert not waiting
    assert received == sent
