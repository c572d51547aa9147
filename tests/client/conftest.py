"""Fixtures: a real agent, and the two faces of the library."""

from __future__ import annotations

import asyncio
import operator
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import Transport, connect, connect_sync
from phoenix_ga.client.opening import Opening
from phoenix_ga.wire.declaration import Command
from tests.support import AgentProcess, wait_for
from tools.reference import METHODS

Talk = Callable[..., Any]
Converse = Callable[[str, Callable[[Any], Awaitable[None]]], None]


def _talk(endpoint: str | Transport, method: str, *args: Any, options: Any = None, **named: Any) -> Any:
    async def conversation() -> Any:
        async with connect(endpoint, **(options or {})) as guest:
            return await operator.attrgetter(method)(guest)(*args, **named)

    async def alone() -> Any:
        try:
            return await conversation()
        finally:
            assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    return asyncio.run(alone())


def _talk_sync(endpoint: str | Transport, method: str, *args: Any, options: Any = None, **named: Any) -> Any:
    with connect_sync(endpoint, **(options or {})) as guest:
        return operator.attrgetter(method)(guest)(*args, **named)


@pytest.fixture(params=[_talk, _talk_sync], ids=["async", "sync"])
def talk(request: pytest.FixtureRequest) -> Talk:
    """Connect, call one method and return its result; over each face of the library."""
    face: Talk = request.param
    return face


#: The client's methods of commands that are not generated, those that the reference does not name included.
BY_HAND = {**METHODS, "sync": "call", "get-session": "call"}


def method_of(command: Command) -> str:
    """Return the client's method of a command."""
    return command.method or BY_HAND[command.name]


def python_arguments(command: Command, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments by the names that the client's method has for them."""
    if command.name in ("wait-for", "events"):
        # Their methods take words, of which there may be none.
        return {}
    names = {argument.name: argument.python for argument in command.arguments} | {"perm": "permissions"}
    given = {names[name]: value for name, value in arguments.items() if name != "details"}
    return {**given, "data": b"data"} if "data" in given else given


class Awaited:
    """Something of the face without asyncio, whose methods can be awaited as those of the other face.

    So a test tells one story of both.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return _awaited(value)

        async def call(*args: Any, **named: Any) -> Any:
            return _awaited(await asyncio.to_thread(value, *args, **named))

        return lambda *args, **named: Opening(call(*args, **named))

    async def __aiter__(self) -> AsyncIterator[Any]:
        iterator = iter(self._inner)
        while (item := await asyncio.to_thread(next, iterator, None)) is not None:
            yield _awaited(item)

    async def __aenter__(self) -> Awaited:
        await asyncio.to_thread(self._inner.__enter__)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self._inner.__exit__, *error)


def _awaited(value: Any) -> Any:
    return Awaited(value) if type(value).__name__.startswith("Sync") else value


def converse_with_asyncio(endpoint: str, conversation: Callable[[Any], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with connect(endpoint) as guest:
            await conversation(guest)

    asyncio.run(connected())


def converse_without_asyncio(endpoint: str, conversation: Callable[[Any], Awaitable[None]]) -> None:
    with connect_sync(endpoint) as guest:
        asyncio.run(_awaitable(conversation(Awaited(guest))))


async def _awaitable(work: Awaitable[None]) -> None:
    await work


@pytest.fixture(params=[converse_with_asyncio, converse_without_asyncio], ids=["async", "sync"])
def converse(request: pytest.FixtureRequest) -> Converse:
    """Connect, and let a conversation take its course; over each face of the library."""
    face: Converse = request.param
    return face


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """A file of many pieces, the last one not full."""
    path = tmp_path / "big file \u00e4"
    path.write_bytes(bytes(range(256)) * 20_000 + b"end")
    return path


@pytest.fixture
def nothing_is_left(agent: AgentProcess) -> Iterator[None]:
    """See that the agent has no process and no file descriptor more than before the test."""
    descriptors = Path(f"/proc/{agent.process.pid}/fd")
    before = len(os.listdir(descriptors))
    yield
    wait_for(lambda: not agent.children())
    wait_for(lambda: len(os.listdir(descriptors)) <= before)
