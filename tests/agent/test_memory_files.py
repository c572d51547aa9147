"""Files that are kept in memory are written to on the loop, and all others are not."""

from __future__ import annotations

import os
import select
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.dialects.native import files as native
from phoenix_ga.agent.dialects.qga import files as qga
from phoenix_ga.agent.linux.memory_files import is_in_memory, write_at_once
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.protocol.policy import Policy
from tests.agent.qga import GuestError, call
from tests.support import AgentProcess, LineClient

TEXT = b64encode(b"data" * 1000).decode("ascii")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A filesystem in memory that holds 64 KiB."""
    path = tmp_path / "memory"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem on a loop device."""
    image, path = tmp_path / "image", tmp_path / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    config = Config(run_directory=str(tmp_path), state_directory=str(tmp_path / "state"))
    return Context(config, Policy(), Log(str(tmp_path / "log")), Handles(8), lambda: None)


def in_memory(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> bool:
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return is_in_memory(fd)
    finally:
        os.close(fd)


@pytest.mark.root
def test_a_file_is_in_memory_where_its_filesystem_is(memory: Path, disk: Path) -> None:
    assert in_memory(memory / "file")
    assert not in_memory(disk / "file")
    assert not in_memory(Path("/proc/self/comm"), os.O_RDONLY)


@pytest.mark.root
def test_what_is_no_file_is_not(memory: Path) -> None:
    os.mkfifo(memory / "fifo")
    assert not in_memory(memory / "fifo")
    assert not in_memory(memory, os.O_RDONLY)
    assert not in_memory(Path("/dev/null"))


@pytest.mark.root
def test_where_not_all_can_be_written_the_file_is_left_where_it_was(memory: Path) -> None:
    fd = os.open(memory / "file", os.O_RDWR | os.O_CREAT)
    write_at_once(fd, memoryview(b"x" * 1000))
    with pytest.raises(OSError, match="unavailable"):
        write_at_once(fd, memoryview(bytes(100_000)))
    assert os.lseek(fd, 0, os.SEEK_CUR) == 1000
    with pytest.raises(OSError, match="unavailable"):
        write_at_once(fd, memoryview(bytes(1 << 20)))
    assert os.lseek(fd, 0, os.SEEK_CUR) == 1000
    os.close(fd)


@pytest.mark.root
def test_a_write_in_memory_is_done_at_once(memory: Path, context: Context) -> None:
    handle = qga.guest_file_open(context, str(memory / "guest"), "w")
    assert qga.guest_file_write_at_once(context, handle, TEXT, None) == {"count": 4000, "eof": False}
    assert qga.guest_file_write_at_once(context, handle, TEXT, 5) == {"count": 5, "eof": False}
    assert (memory / "guest").read_bytes() == b"data" * 1000 + b"datad"
    handle = native.file_open(context, str(memory / "ours"), "w", 0o600, False)
    assert native.file_write_at_once(context, handle, TEXT, eof=False)
    assert (memory / "ours").read_bytes() == b"data" * 1000


@pytest.mark.root
def test_all_other_writes_are_left_to_a_worker(memory: Path, disk: Path, context: Context) -> None:
    for path, mode in ((disk / "disk", "w"), (memory / "appended", "a")):
        handle = qga.guest_file_open(context, str(path), mode)
        with pytest.raises(KeyError):
            qga.guest_file_write_at_once(context, handle, TEXT, None)
        assert path.read_bytes() == b""
    for path, eof in ((disk / "ours", False), (memory / "last", True)):
        handle = native.file_open(context, str(path), "w", 0o600, False)
        with pytest.raises(OSError, match="takes a while"):
            native.file_write_at_once(context, handle, TEXT, eof)
        assert path.read_bytes() == b""


@pytest.mark.root
def test_a_handle_that_was_closed_is_of_no_use_any_more(memory: Path, context: Context) -> None:
    handle = qga.guest_file_open(context, str(memory / "file"), "w")
    qga.guest_file_close(context, handle)
    with pytest.raises(KeyError):
        qga.guest_file_write_at_once(context, handle, TEXT, None)


@pytest.mark.root
def test_a_full_filesystem_is_told_as_ever(memory: Path, client: LineClient) -> None:
    handle = call(client, "guest-file-open", path=str(memory / "file"), mode="w")
    text = b64encode(bytes(100_000)).decode("ascii")
    with pytest.raises(GuestError, match="No space left"):
        call(client, "guest-file-write", handle=handle, **{"buf-b64": text})
    assert (memory / "file").stat().st_size == 64 * 1024


@pytest.mark.root
def test_a_write_in_memory_needs_no_worker(memory: Path, tmp_path: Path) -> None:
    with (tmp_path / "slow").open("wb") as file:
        file.truncate(1 << 30)
    with AgentProcess(tmp_path, "--max-workers", "1") as agent, agent.connect() as busy, agent.connect() as client:
        handle = call(client, "guest-file-open", path=str(memory / "file"), mode="w")
        # With the first one, the agent loads what it needs.
        call(client, "guest-file-write", handle=handle, **{"buf-b64": TEXT})
        busy.ask("get-file-md5sum", path=str(tmp_path / "slow"))
        assert call(client, "guest-file-write", handle=handle, **{"buf-b64": TEXT}) == {"count": 4000, "eof": False}
        assert not select.select([busy.socket], [], [], 0)[0]
        assert busy.line()
