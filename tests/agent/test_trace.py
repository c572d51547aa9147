"""The way of a request through the agent."""

from __future__ import annotations

from tools.trace_request import modules_on_the_way, trace


def test_a_ping_passes_few_modules_from_bytes_to_bytes() -> None:
    modules = modules_on_the_way(trace(b'{"execute": "ping"}'))
    assert len(modules) <= 8, modules
