"""The agent's side of streams, spoken to in frames made by hand."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.endpoints.descriptor import WINDOW as DESCRIPTOR_WINDOW
from phoenix_ga.agent.endpoints.descriptor import DescriptorEndpoint
from phoenix_ga.agent.endpoints.endpoint import FRAME_SIZE, Endpoint
from phoenix_ga.agent.protocol.streams import Streams
from phoenix_ga.wire import units
from phoenix_ga.wire.frames import HEADER_SIZE
from phoenix_ga.wire.streams import Data
from tests.ends.client import (
    DATA,
    END,
    RESET,
    SKIP,
    WINDOW,
    Frame,
    LineClient,
    RefusedError,
    encode_frame,
    encode_request,
)
from tests.support import AgentProcess, wait_for


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_no_more_comes_than_was_granted(client: LineClient, big: Path) -> None:
    stream = client.call("file-get", path=str(big), window=100_000)["stream"]
    received = b""
    while len(received) < 100_000:
        received += client.frame().payload
    assert len(received) == 100_000
    client.ask("ping", "after")
    assert client.answer()["tag"] == "after", "more came than was granted"
    client.send_frame(WINDOW, stream, (5).to_bytes(4, "big"))
    assert client.frame().payload == big.read_bytes()[100_000:100_005]


def test_an_answer_waits_for_few_frames_only(client: LineClient, big: Path) -> None:
    client.call("file-get", path=str(big), window=3_000_000, digest=False)
    client.ask("ping", "now")
    before = 0
    while isinstance(unit := client.whole_unit(), Frame):
        before += len(unit.payload)
    # What the socket held already, and one frame.
    assert before < 1_000_000


def test_streams_take_turns(client: LineClient, tmp_path: Path) -> None:
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(1 << 34)
    lines = [
        encode_request("file-get", {"path": str(tmp_path / "endless"), "window": 16 << 20, "digest": False}, number)
        for number in range(4)
    ]
    client.send(b"".join(lines))
    received: dict[int, int] = {}
    while sum(received.values()) < 40 << 20:
        unit = client.whole_unit()
        if isinstance(unit, Frame):
            received[unit.stream] = received.get(unit.stream, 0) + len(unit.payload)
    assert len(received) == 4
    assert max(received.values()) <= 2 * min(received.values())


CHEATS: dict[str, tuple[int, bytes]] = {
    "more than there is room for": (DATA, bytes(200_000)),
    "a skip to a process": (SKIP, bytes(8)),
    "a malformed window": (WINDOW, b"x"),
    "more credit than there can be": (WINDOW, b"\xff" * 4),
    "a closing message that is no object": (END, b"[]"),
    "an unknown type": (77, b""),
}


@pytest.mark.parametrize(("type", "payload"), CHEATS.values(), ids=CHEATS.keys())
def test_a_client_that_cheats_loses_that_stream_only(
    agent: AgentProcess, client: LineClient, type: int, payload: bytes
) -> None:
    good = client.call("exec", argv=["cat"])
    bad = client.call("exec", argv=["sleep", "60"])
    client.send_frame(type, bad["stream"], payload)
    text, code = client.wait_for_reset(bad["stream"])
    assert code == errno.EPROTO
    assert "protocol violation" in text
    client.send_frame(DATA, good["stream"], b"still here")
    while (frame := client.frame()).type != DATA:
        pass
    assert (frame.stream, frame.payload) == (good["stream"], b"still here")
    wait_for(lambda: not Path(f"/proc/{bad['pid']}").exists())


def test_frames_of_no_stream_are_answered_with_a_reset_and_resets_never(client: LineClient) -> None:
    # Before the client has opened any, for example because an earlier agent had it.
    for type in (DATA, WINDOW, END, RESET, SKIP, 99):
        client.send_frame(type, 5, b"xxxxxxxx")
    for _ in range(5):
        assert client.wait_for_reset(5) == ("unknown stream", errno.EIDRM)
    gone = client.call("exec", argv=["true"])["stream"]
    ended = 0
    while ended < 2:
        ended += client.frame().type == END
    for type in (DATA, RESET, WINDOW, END, SKIP, RESET, 99):
        client.send_frame(type, gone, b"xxxxxxxx")
    for _ in range(5):
        assert client.wait_for_reset(gone) == ("unknown stream", errno.EIDRM)
    client.send_frame(RESET, 0)
    client.send_frame(RESET, 2**32 - 1, b"x" * 1000)
    client.ask("ping", "t")
    assert client.answer()["return"] == __version__


def test_a_client_that_reads_no_resets_takes_no_memory(agent: AgentProcess, client: LineClient) -> None:
    frames = encode_frame(DATA, 5) * 10_000
    client.send(frames)
    before = agent.memory()
    for _ in range(100):
        client.send(frames)
    assert agent.memory() < before + (8 << 20)
    with agent.connect() as other:
        assert other.call("ping") == __version__


def test_a_session_has_the_number_of_its_sync(client: LineClient) -> None:
    unsynced = client.call("get-session")
    assert client.call("get-session") == unsynced
    client.sync(4711)
    assert client.call("get-session") == 4711
    client.sync(0)
    assert client.call("get-session") == 0
    with pytest.raises(RefusedError):
        client.call("get-session", id=5)


def test_the_session_is_named_beside_a_stuck_command(client: LineClient, tmp_path: Path) -> None:
    client.sync(5)
    os.mkfifo(tmp_path / "fifo")
    client.call("exec", argv=["sleep", "60"])
    # Nobody reads what is written to it.
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    handle = client.call("file-open", path=str(tmp_path / "fifo"), mode="w")
    client.ask("file-write", "stuck", handle_id=handle, bufb64="AAAA" * 100_000)
    assert client.call("get-session") == 5
    os.close(reader)


def test_sync_ends_the_streams_of_whoever_was_there(agent: AgentProcess, client: LineClient, big: Path) -> None:
    pid = client.call("exec", argv=["sleep", "60"])["pid"]
    client.call("file-put", path=str(big) + ".new")
    client.call("file-get", path=str(big), window=1000)
    client.ask("sync", id=3)
    while isinstance(client.whole_unit(), Frame):
        pass
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    wait_for(lambda: not [name for name in agent.open_files(big.parent) if "sock" not in name and "log" not in name])
    assert os.listdir(big.parent).count("big.new") == 0


def test_the_limits_of_streams_are_clear_errors(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--max-streams", "3") as agent, agent.connect() as client:
        client.call("exec", argv=["sleep", "60"])
        with pytest.raises(RefusedError, match="3 streams are open") as caught:
            client.call("exec", argv=["sleep", "61"])
        assert caught.value.code == errno.EAGAIN
        # What was started for nothing is ended.
        wait_for(lambda: len(agent.children()) <= 1)


def test_windows_are_bounded_in_sum(client: LineClient, tmp_path: Path) -> None:
    for number in range(64):
        client.call("file-put", path=str(tmp_path / f"file{number}"))
    with pytest.raises(RefusedError) as caught:
        client.call("file-put", path=str(tmp_path / "one-more"))
    assert caught.value.code == errno.EAGAIN
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "agent.sock", "phoenix-ga.conf"]


def test_a_client_may_have_as_many_connections_as_streams(client: LineClient, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "many"))
        listener.listen(2048)
        windows = [client.call("connect", path=str(tmp_path / "many"))["window"] for _ in range(1024)]
        assert windows[0] > windows[-1] > 0
        assert sum(windows) <= 64 << 20
        with pytest.raises(RefusedError, match="1024 streams are open"):
            client.call("connect", path=str(tmp_path / "many"))


def test_a_small_window_is_the_one_that_holds(client: LineClient, tmp_path: Path) -> None:
    for number in range(33):
        client.call("file-put", path=str(tmp_path / f"file{number}"))
    opened = client.call("exec", argv=["sleep", "60"])
    assert opened["window"] == 32 * 1024
    client.send_frame(DATA, opened["stream"], bytes(opened["window"] + 1))
    assert "violation" in client.wait_for_reset(opened["stream"])[0]


def test_a_file_with_a_wrong_digest_stays_as_it_was(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    stream = client.call("file-put", path=str(tmp_path / "file"))["stream"]
    client.send_frame(DATA, stream, b"new")
    client.send_frame(END, stream, b'{"sha256": "0000"}')
    text, code = client.wait_for_reset(stream)
    assert code == errno.EBADMSG
    assert "the file stays as it was" in text
    assert (tmp_path / "file").read_text() == "old"


def test_what_was_kept_of_a_file_is_continued(client: LineClient, tmp_path: Path) -> None:
    target, part = tmp_path / "file", tmp_path / ".file.token-1.phoenix-part"
    stream = client.call("file-put", path=str(target), part="token-1")["stream"]
    client.send_frame(DATA, stream, b"first half, and more")
    client.send_frame(RESET, stream)
    wait_for(lambda: part.exists() and part.read_bytes() == b"first half, and more")
    stream = client.call("file-put", path=str(target), part="token-1", offset=11)["stream"]
    client.send_frame(DATA, stream, b" second half")
    client.send_frame(
        END, stream, b'{"size": 23, "sha256": "%s"}' % hashlib.sha256(b" second half").hexdigest().encode()
    )
    while client.frame().type != END:
        pass
    assert target.read_bytes() == b"first half, second half"
    assert not part.exists()


def test_what_is_wrong_is_not_kept(client: LineClient, tmp_path: Path) -> None:
    stream = client.call("file-put", path=str(tmp_path / "file"), part="x")["stream"]
    client.send_frame(DATA, stream, b"damaged")
    client.send_frame(END, stream, b'{"sha256": "0000"}')
    client.wait_for_reset(stream)
    wait_for(lambda: not (tmp_path / ".file.x.phoenix-part").exists())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"part": "../x"}, errno.EINVAL),
        ({"part": "x" * 33}, errno.EINVAL),
        ({"offset": 1}, errno.EINVAL),
        ({"part": "x", "offset": 1}, errno.ENODATA),
        ({"part": "link", "offset": 1}, errno.ENODATA),
        ({"part": "hard", "offset": 1}, errno.ENODATA),
    ],
)
def test_what_cannot_be_continued(
    client: LineClient, tmp_path: Path, arguments: dict[str, object], code: int
) -> None:
    (tmp_path / "other").write_text("not ours")
    (tmp_path / ".file.link.phoenix-part").symlink_to("other")
    os.link(tmp_path / "other", tmp_path / ".file.hard.phoenix-part")
    with pytest.raises(RefusedError) as caught:
        client.call("file-put", path=str(tmp_path / "file"), **arguments)
    assert caught.value.code == code
    assert (tmp_path / "other").read_text() == "not ours"


def test_the_digest_of_the_start_of_a_file(client: LineClient, big: Path) -> None:
    for length in (0, 1, 262_144, 1_000_001, 99_999_999):
        digest = client.call("get-file-sha256sum", path=str(big), length=length)
        assert digest == hashlib.sha256(big.read_bytes()[:length]).hexdigest()


@pytest.mark.root
def test_a_full_disk_ends_the_stream_with_its_errno(client: LineClient, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    assert os.system(f"mount -t tmpfs -o size=256k none {small}") == 0
    try:
        (small / "file").write_text("old")
        stream = client.call("file-put", path=str(small / "file"))["stream"]
        client.send_frame(DATA, stream, bytes(256 * 1024))
        client.send_frame(DATA, stream, bytes(256 * 1024))
        assert client.wait_for_reset(stream)[1] == errno.ENOSPC
        assert (small / "file").read_text() == "old"
        wait_for(lambda: os.listdir(small) == ["file"])
    finally:
        os.system(f"umount -l {small}")


def test_an_endpoint_that_fails_ends_its_stream_and_not_the_agent() -> None:
    class Broken(Endpoint):
        window = 10

        def pull(self, size: int) -> bytes:
            raise RuntimeError("broken")

        received = ended = closed = pull  # type: ignore[assignment]

    loop = Loop()
    sent: list[bytes] = []
    channel = SimpleNamespace(send=sent.extend, output_size=0)
    streams = Streams(loop, Workers(1), cast(Any, channel), Throttle(), 10, lambda: 1)
    for frame in (units.Frame(DATA, 1, b"x"), units.Frame(END, 1, b"")):
        streams.open(Broken(), 100).start()
        streams.receive(frame)
        assert len(streams) == 0
    streams.open(Broken(), 100).ready()
    streams.pump()
    assert len(streams) == 0
    assert len(sent) == 3


def test_between_two_frames_everybody_else_has_a_turn() -> None:
    class Endless(Endpoint):
        def pull(self, size: int) -> bytes:
            return bytes(size)

    loop = Loop()
    sent: list[bytes] = []
    channel = SimpleNamespace(send=sent.extend, output_size=0)
    streams = Streams(loop, Workers(1), cast(Any, channel), Throttle(), 10, count(1).__next__)
    for _ in range(3):
        streams.open(Endless(), 1 << 30).ready()
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(map(len, sent)))
        if len(seen) == 10:
            loop.stop()
        else:
            loop.call_soon(look)

    look()
    loop.run()
    assert max(after - before for before, after in zip(seen, seen[1:])) == FRAME_SIZE + HEADER_SIZE


def test_what_a_slow_reader_has_not_taken_does_not_change_with_the_buffer_it_came_in() -> None:
    sent = os.urandom(DESCRIPTOR_WINDOW)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    received = bytearray()
    with theirs:
        loop = Loop()
        channel = SimpleNamespace(send=lambda pieces: None, output_size=0)
        streams = Streams(loop, Workers(1), cast(Any, channel), Throttle(), 10, count(1).__next__)
        fd = ours.detach()
        endpoint = DescriptorEndpoint(fd, fd)
        streams.open(endpoint, 0).start()
        for start in range(0, len(sent), 1000):
            buffer = bytearray(sent[start : start + 1000])
            endpoint.received(Data(memoryview(buffer)))
            buffer[:] = bytes(len(buffer))

        def take() -> None:
            received.extend(theirs.recv(65536))
            if len(received) < len(sent):
                loop.call_later(0.001, take)
            else:
                loop.stop()

        take()
        loop.run()
        streams.close()
    assert received == sent
