"""The end of a file, and what is appended to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.followed_file import FollowedFile
from tests.agent.test_files import refused
from tests.ends.client import DATA, END, LineClient
from tests.support import AgentProcess, wait_for

TEXTS = [b"", b"a", b"a\n", b"a\nb", b"\n\n\n", b"x" * 200_000, b"line\n" * 50_000, b"line\n" * 50_000 + b"end"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 10, 20_000, 60_000])
def test_the_last_lines_are_those_of_tail(tmp_path: Path, text: bytes, lines: int) -> None:
    (tmp_path / "file").write_bytes(text)
    expected = subprocess.run(["tail", "-n", str(lines), tmp_path / "file"], capture_output=True, check=True).stdout
    file = FollowedFile(str(tmp_path / "file"), lines, False)
    found = b""
    while data := file.read():
        found += data
    file.close()
    assert found == expected


def read_until(client: LineClient, stream: int, text: bytes, received: bytearray) -> None:
    """Receive frames until the data so far is `text`."""
    while received != text:
        frame = client.frame()
        assert (frame.type, frame.stream) == (DATA, stream)
        received += frame.payload
        assert text.startswith(received)


def test_a_file_is_followed_through_all_that_happens_to_a_log(
    agent: AgentProcess, client: LineClient, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "log"
    log.write_text("1\n2\n3\n")
    stream = client.call("file-tail", path=str(log), lines=2, follow=True)["stream"]
    expected, received = b"2\n3\n", bytearray()
    read_until(client, stream, expected, received)
    # Appended, truncated, renamed, made again, removed, replaced.
    for mode, text in (("ab", b"four\n"), ("wb", b"5\n")):
        with log.open(mode) as file:
            file.write(text)
        expected += text
        read_until(client, stream, expected, received)
    log.rename(logs / "log.1")
    with (logs / "log.1").open("ab") as file:
        file.write(b"late\n")
    expected += b"late\n"
    read_until(client, stream, expected, received)
    log.write_bytes(b"6\n")
    expected += b"6\n"
    read_until(client, stream, expected, received)
    log.unlink()
    (logs / "new").write_bytes(b"7\n")
    (logs / "new").rename(log)
    expected += b"7\n"
    read_until(client, stream, expected, received)
    assert agent.open_files(logs) == [str(log)]


def test_a_quiet_file_wakes_nobody_and_nothing_is_left_when_the_client_leaves(
    agent: AgentProcess, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log").write_text("1\n")
    before = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
    with agent.connect() as client:
        client.call("file-tail", path=str(tmp_path / "logs" / "log"), follow=True)
        assert client.frame().payload == b"1\n"
        assert agent.open_files(tmp_path / "logs")
        assert agent.comes_to_rest(0.5)
    wait_for(lambda: len(os.listdir(f"/proc/{agent.process.pid}/fd")) <= before)
    assert agent.open_files(tmp_path / "logs") == []


def test_without_following_the_stream_ends(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("1\n2\n")
    stream = client.call("file-tail", path=str(tmp_path / "log"), lines=1)["stream"]
    frames = [client.frame(), client.frame()]
    assert [(frame.type, frame.stream) for frame in frames] == [(DATA, stream), (END, stream)]
    assert frames[0].payload == b"2\n"


def test_only_regular_files_are_followed(client: LineClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, name in (("fifo", "EINVAL"), ("", "EINVAL"), ("nowhere", "ENOENT")):
        assert refused(client, "file-tail", path=str(tmp_path / path), follow=True)[0] == name
