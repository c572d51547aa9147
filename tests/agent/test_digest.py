"""Digests as the kernel and as Python compute them."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.core.throttle import Throttle
from phoenix_ga.agent.linux import digest
from phoenix_ga.agent.operations.digest import ThrottledDigest

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
    def fail(self: digest.KernelSha256) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(digest.KernelSha256, "__init__", fail)
    assert digest.new_digest("sha256").hexdigest() == hashlib.sha256().hexdigest()
