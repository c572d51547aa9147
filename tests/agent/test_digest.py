"""Digests as the kernel and as Python compute them."""

from __future__ import annotations

import hashlib
import os
import zlib
from errno import EOPNOTSUPP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.linux import digest
from phoenix_ga.agent.operations.digest import ThrottledDigest, measure_digests, transfer_digest
from phoenix_ga.client import digests

ALGORITHMS = ("md5", "sha256")


@given(st.sampled_from(ALGORITHMS), st.lists(st.binary(max_size=3000)))
def test_the_digest_is_that_of_all_that_came(algorithm: str, pieces: list[bytes]) -> None:
    computed = ThrottledDigest(algorithm, Throttle())
    for piece in pieces:
        computed.update(memoryview(piece))
    assert computed.hexdigest() == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_large_pieces_are_taken_whole(algorithm: str) -> None:
    data = os.urandom(3_000_001)
    for computed in (digest.new_digest(algorithm), ThrottledDigest(algorithm, Throttle())):
        computed.update(data)
        assert computed.hexdigest() == hashlib.new(algorithm, data).hexdigest()


def test_a_kernel_without_it_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: digest.KernelDigest, algorithm: str) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(digest.KernelDigest, "__init__", fail)
    assert digest.new_digest("sha256").hexdigest() == hashlib.sha256().hexdigest()


@given(st.lists(st.binary(max_size=40)))
def test_both_sides_define_crc32_alike(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "CRC_BLOCK", 16)
        patch.setattr(digests, "_CRC_BLOCK", 16)
        there, here = ThrottledDigest("crc32", Throttle()), digests.Digest("crc32")
        for piece in pieces:
            there.update(memoryview(piece))
            here.update(piece)
    data = b"".join(pieces)
    blocks = [data[start : start + 16] for start in range(0, len(data) + 1, 16)]
    told = b"".join(zlib.crc32(block).to_bytes(4, "big") for block in blocks) + len(data).to_bytes(8, "big")
    assert there.hexdigest() == here.value() == hashlib.sha256(told).hexdigest()


def test_the_digests_of_this_system_have_a_speed() -> None:
    speeds = measure_digests()
    assert {"crc32", "sha256"} <= speeds.keys() <= {"xxh64", "crc32", "sha256"}
    assert all(type(speed) is int and speed > 0 for speed in speeds.values())
    for name in speeds:
        computed = transfer_digest(name, Throttle())
        assert computed is not None
        assert computed.algorithm == name


def test_a_kernel_without_xxhash_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: digest.KernelDigest, algorithm: str) -> None:
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(digest.KernelDigest, "__init__", fail)
    with pytest.raises(OSError, match="get-digests lists") as caught:
        transfer_digest("xxh64", Throttle())
    assert caught.value.errno == EOPNOTSUPP
    assert transfer_digest("none", Throttle()) is transfer_digest(False, Throttle()) is None
