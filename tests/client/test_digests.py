"""The digest of a transfer: which one is chosen, and that it notices every wrong byte."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import CommandError, Guest, MockTransport, TransferDamagedError, connect
from phoenix_ga.client.digests import Digest
from phoenix_ga.wire.frames import DATA, END, encode_header
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream
from phoenix_ga.wire.units import Frame

ALL = {"xxh64": 1500, "crc32": 400, "sha256": 40}
CONTENT = random.Random(1).randbytes(40_000)


def answer_get(content: bytes, told: bytes) -> Callable[[Request], bytes]:
    """Return an answer to `file-get` that sends `content`, and the digest of `told`."""

    def answer(request: Request) -> bytes:
        digest = Digest(request.arguments["digest"])
        digest.update(told)
        opened = encode_return(
            {"stream": 9, "size": len(told), "mode": 0o644, "uid": 0, "gid": 0, "mtime": 0}, request.tag
        )
        end = Stream(9, credit=0, window=0).end({"size": len(content), **digest.members()})
        return b"".join([*opened, encode_header(DATA, 9, len(content)), content, end])

    return answer


def run(answers: dict[str, Any], use: Callable[[Guest], Any], **options: Any) -> MockTransport:
    """Run `use` with a guest that answers so; return the transport."""
    transport = MockTransport(answers, **options)

    async def conversation() -> None:
        async with connect(transport) as guest:
            await use(guest)

    asyncio.run(conversation())
    return transport


@pytest.mark.parametrize(
    ("speeds", "verify", "chosen"),
    [
        (ALL, "fast", "xxh64"),
        (ALL, True, "xxh64"),
        ({"crc32": 400, "sha256": 40}, "fast", "crc32"),
        ({"crc32": 400, "sha256": 1500}, "fast", "sha256"),
        ({"blake3": 9000, "crc32": 400, "sha256": 40}, "fast", "crc32"),
        (CommandError("unknown command", -1), "fast", "sha256"),
        (ALL, "sha256", "sha256"),
        (ALL, "none", "none"),
        (ALL, False, "none"),
    ],
)
def test_the_fastest_digest_of_both_sides_is_chosen(tmp_path: Path, speeds: Any, verify: Any, chosen: str) -> None:
    pytest.importorskip("xxhash")
    results = []

    async def copy(guest: Guest) -> None:
        for _ in range(2):
            results.append(await guest.get("/x", tmp_path / "x", verify=verify))

    transport = run({"get-digests": speeds, "file-get": answer_get(CONTENT, CONTENT)}, copy)
    gets = [request for request in transport.requests if request.execute == "file-get"]
    assert [request.arguments["digest"] for request in gets] == [chosen] * 2
    assert {result.algorithm for result in results} == {None if chosen == "none" else chosen}
    asked = [request for request in transport.requests if request.execute == "get-digests"]
    if isinstance(speeds, dict):
        # Once for each connection, and not if there is nothing to choose.
        assert len(asked) == (verify in ("fast", True))


@pytest.mark.parametrize("name", ["xxh64", "crc32", "sha256"])
def test_a_byte_that_is_flipped_anywhere_is_noticed(tmp_path: Path, name: str) -> None:
    """At 1,000 random places, in both directions."""
    if name == "xxh64":
        pytest.importorskip("xxhash")
    places = random.Random(name)
    answers: dict[str, Any] = {
        "get-digests": {"crc32": 1, "sha256": 1, name: 2},
        "file-put": {"stream": 9, "window": 1 << 20},
    }
    local = tmp_path / "local"
    received = bytearray()

    def flipped(content: bytes) -> bytes:
        place = places.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << places.randrange(8)]) + content[place + 1 :]

    def answer_put(frame: Frame) -> bytes:
        if frame.type == DATA:
            received.extend(frame.payload)
        if frame.type != END:
            return b""
        digest = Digest(name)
        digest.update(flipped(bytes(received)))
        return Stream(9, credit=0, window=0).end({"size": len(received), **digest.members()})

    async def copy(guest: Guest) -> None:
        for number in range(1000):
            content = CONTENT[: places.randrange(1, 4000)]
            transport.answers["file-get"] = answer_get(flipped(content), content)
            if number % 2:
                with pytest.raises(TransferDamagedError):
                    await guest.get("/x", tmp_path / "x", verify="sha256" if name == "sha256" else "fast")
                assert not (tmp_path / "x").exists()
                continue
            received.clear()
            local.write_bytes(content)
            with pytest.raises(TransferDamagedError):
                await guest.put(local, "/x", verify="sha256" if name == "sha256" else "fast")

    transport = MockTransport(answers, on_frame=answer_put)

    async def conversation() -> None:
        async with connect(transport) as guest:
            await copy(guest)

    asyncio.run(conversation())


def test_a_choice_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    async def copy(guest: Guest) -> None:
        wrong: Any = "md5"
        with pytest.raises(ValueError, match="'fast', 'sha256' or 'none'"):
            await guest.get("/x", tmp_path / "x", verify=wrong)

    run({}, copy)
