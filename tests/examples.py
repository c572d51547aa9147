"""Runs every example of the reference against an agent, in the order in which the reference has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import Command, Example
from tests.ends.client import LineClient


def examples() -> Iterator[tuple[Command, Example]]:
    """Yield command and example; the one that ends the agent comes last."""
    for command in sorted(COMMANDS, key=lambda command: command.name == "agent-shutdown"):
        for example in command.examples:
            yield command, example


def run_example(client: LineClient, command: Command, example: Example, handles: dict[int, int]) -> None:
    """Run one example and compare its answer.

    handles: the handle, or process ID, that the agent gave for each one of the reference; kept between
    examples.
    """
    arguments = dict(example.arguments)
    documented = arguments.get("handle_id", -1)
    if example.opens:
        handles[documented] = client.call("file-open", path=example.opens)
    if documented in handles:
        arguments["handle_id"] = handles[documented]
    if arguments.get("pid") in handles:
        arguments["pid"] = handles[arguments["pid"]]
    answer = client.call(command.name, **arguments)
    if command.name == "exec":
        handles[example.answer["pid"]] = answer["pid"]
    if command.name == "file-open":
        handles[example.answer] = answer
    if example.exact:
        assert answer == example.answer, command.name
    else:
        assert_same_shape(answer, example.answer, command.name)


def assert_same_shape(found: Any, documented: Any, where: str) -> None:
    """Assert that the members and types are the same, of each element of a list too."""
    if isinstance(documented, float) and isinstance(found, int):
        return
    assert type(found) is type(documented), (where, found, documented)
    if isinstance(documented, dict):
        # The kernel decides which counters there are; the example shows some.
        names = found.keys() & documented.keys() if where.startswith("metrics") else found.keys()
        assert names == documented.keys(), where
        for name in documented:
            assert_same_shape(found[name], documented[name], f"{where}.{name}")
    elif isinstance(documented, list):
        for element in found:
            assert_same_shape(element, documented[0], f"{where}[]")
