"""The waiter, which an idle agent becomes: the program itself, without the agent."""

from __future__ import annotations

import contextlib
import os
import platform
import pty
import shutil
import signal
import socket
import subprocess
import time
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import wait_for
from tools import build_native

# What runs the waiter of each machine here.
RUNNERS = {platform.machine(): [], "aarch64": ["qemu-aarch64"]}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The waiters, by name."""
    return {path.name: path for path in build_native.build(tmp_path_factory.mktemp("native"))}


@pytest.fixture(params=list(RUNNERS))
def waiter(request: pytest.FixtureRequest, built: dict[str, Path]) -> list[str]:
    """The command that runs the waiter of a machine."""
    return command(built, request.param)


@pytest.fixture
def own_waiter(built: dict[str, Path]) -> list[str]:
    """The command that runs the waiter of this machine."""
    return command(built, platform.machine())


def command(built: dict[str, Path], machine: str) -> list[str]:
    runner, name = RUNNERS[machine], f"phoenix-wait-{machine}"
    if name not in built or not all(map(shutil.which, runner)):
        pytest.skip(f"needs a compiler for {machine}, and {' '.join(runner)}")
    return [*runner, str(built[name])]


pytestmark = pytest.mark.programs("cc", "aarch64-linux-gnu-gcc", "qemu-aarch64")


@contextlib.contextmanager
def waiting(
    waiter: Sequence[str],
    words: Sequence[str],
    descriptors: Sequence[int],
    program: Sequence[str],
    *,
    ready: bool = True,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the waiter with SIGTERM blocked, until it sleeps."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        process = subprocess.Popen(
            [*waiter, "name", *words, "--", *program], pass_fds=descriptors, stdout=subprocess.PIPE
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    try:
        if ready:
            wait_for(lambda: "do_epoll" in Path(f"/proc/{process.pid}/stack").read_text())
        yield process
    finally:
        process.kill()
        process.communicate()


def echo(text: str = "woken") -> list[str]:
    return ["/bin/sh", "sh", "-c", f"echo {text}"]


@pytest.mark.root
def test_it_waits_until_a_byte_arrives_and_leaves_it_there(waiter: list[str]) -> None:
    reading, writing = os.pipe()
    read_one = ["/usr/bin/head", "head", "-c", "3", f"/proc/self/fd/{reading}"]
    with waiting(waiter, [str(reading)], [reading], read_one) as process:
        assert Path(f"/proc/{process.pid}/comm").read_text() == "name\n"
        os.write(writing, b"abc")
        assert process.communicate(timeout=20)[0] == b"abc"
    os.close(reading)
    os.close(writing)


def test_bytes_that_are_there_already_wake_it(waiter: list[str]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    with waiting(waiter, [str(reading)], [reading], echo(), ready=False) as process:
        assert process.communicate(timeout=20)[0] == b"woken\n"
    os.close(reading)
    os.close(writing)


@pytest.mark.root
def test_a_blocked_signal_wakes_it_and_stays_pending(waiter: list[str]) -> None:
    pending = "grep -E ^Shd?Pnd /proc/self/status"
    with waiting(waiter, [], [], ["/bin/sh", "sh", "-c", f"exec {pending}"]) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)[0].decode()
    assert any(int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1) for line in output.splitlines())


@pytest.mark.root
def test_a_client_of_a_listening_socket_wakes_it(waiter: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        with waiting(waiter, [str(listening.fileno())], [listening.fileno()], echo()) as process:
            client.connect(str(tmp_path / "socket"))
            assert process.communicate(timeout=20)[0] == b"woken\n"


@pytest.mark.root
def test_a_hang_up_is_news_unless_it_is_known(own_waiter: list[str]) -> None:
    """A pipe without writers reports a hang-up and reads as empty, as a port without a client does.

    QEMU, which runs programs of other machines, checks the address before it asks the kernel for data.
    """
    waiter = own_waiter
    reading, writing = os.pipe()
    other, other_writing = os.pipe()
    os.close(writing)
    with waiting(waiter, [f"{reading}h", str(other)], [reading, other], echo()) as process:
        time.sleep(0.3)
        assert process.poll() is None
        os.write(other_writing, b"x")
        assert process.communicate(timeout=20)[0] == b"woken\n"
    with waiting(waiter, [str(reading)], [reading], echo(), ready=False) as process:
        assert process.communicate(timeout=20)[0] == b"woken\n"
    os.close(reading)


def test_data_behind_a_known_hang_up_wakes_it(waiter: list[str]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    os.close(writing)
    with waiting(waiter, [f"{reading}h"], [reading], echo(), ready=False) as process:
        assert process.communicate(timeout=20)[0] == b"woken\n"
    os.close(reading)


@pytest.mark.root
def test_a_tty_that_is_hung_up_wakes_it(waiter: list[str]) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    with waiting(waiter, [str(slave)], [slave], echo()) as process:
        os.close(master)
        assert process.communicate(timeout=20)[0] == b"woken\n"
    os.close(slave)


def test_a_program_that_is_missing_for_a_while_is_executed_later(waiter: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    program = tmp_path / "program"
    with waiting(waiter, [str(reading)], [reading], [str(program), "program"], ready=False) as process:
        time.sleep(0.5)
        assert process.poll() is None
        part = tmp_path / "part"
        part.write_text("#!/bin/sh\necho upgraded\n")
        part.chmod(0o755)
        part.rename(program)
        assert process.communicate(timeout=30)[0] == b"upgraded\n"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "words", [[], ["name"], ["name", "0"], ["name", "0", "--"], ["name", "0", "--", "/bin/true"]]
)
def test_it_is_not_for_people(waiter: list[str], words: list[str]) -> None:
    assert subprocess.run([*waiter, *words], check=False, timeout=20).returncode == 2
