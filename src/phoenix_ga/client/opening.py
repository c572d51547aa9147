"""An operation that can be awaited, or entered with `async with`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    Parameters = ParamSpec("Parameters")


class _Closes(Protocol):
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None: ...


Opened = TypeVar("Opened", bound=_Closes)


class Opening(Coroutine[Any, Any, Opened], Generic[Opened]):
    """A coroutine that returns a context manager, which `async with` enters without an inner `await`.

    process = await guest.exec(["cat"])
    async with guest.exec(["cat"]) as process:
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Opened]) -> None:
        self._coroutine = coroutine
        self._opened: Opened | None = None

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> Opened:
        self._opened = await self._coroutine
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._opened is not None
        return await self._opened.__aexit__(kind, error, traceback)


def opens(method: Callable[Parameters, Coroutine[Any, Any, Opened]]) -> Callable[Parameters, Opening[Opened]]:
    """Let a coroutine function return an Opening."""

    @functools.wraps(method)
    def opening(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Opening[Opened]:
        return Opening(method(*args, **kwargs))

    return opening
