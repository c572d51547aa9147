"""SHA-256 as the kernel and as Python compute it."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.linux import digest


@given(st.lists(st.binary(max_size=3000)))
def test_the_digest_is_that_of_all_that_came(pieces: list[bytes]) -> None:
    computed = digest.new_sha256()
    for piece in pieces:
        computed.update(memoryview(piece))
    assert computed.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_large_pieces_are_taken_whole() -> None:
    data = os.urandom(3_000_001)
    for new in (digest.new_sha256, digest._new_python_sha256):
        computed = new()
        computed.update(data)
        assert computed.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_kernel_without_it_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: digest.KernelSha256) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(digest.KernelSha256, "__init__", fail)
    assert digest.new_sha256().hexdigest() == hashlib.sha256().hexdigest()
