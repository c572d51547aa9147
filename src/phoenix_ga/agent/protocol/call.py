"""Calls, and the results of handlers that open streams."""

from __future__ import annotations

from phoenix_ga.wire.messages import NO_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.endpoints.endpoint import Endpoint
    from phoenix_ga.agent.protocol.dialect import Dialect
    from phoenix_ga.wire.declaration import Command
    from phoenix_ga.wire.messages import Request

# Memory that the shortest request takes, in bytes.
_CALL_COST: Final = 1024


class CommandError(ValueError):
    """A request that cannot be run.

    Args:
        text: The reason.
        code: The errno that describes it, or NO_CODE.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Call:
    """A request on its way to its answer.

    Args:
        request: The request; None if the line held none.
        size: Length of the line, in bytes.
        dialect: The dialect in which it is answered.
        error: Why it cannot run, if that is known already.
    """

    __slots__ = (
        "bound",
        "command",
        "dialect",
        "error",
        "error_text",
        "peer",
        "request",
        "revoked",
        "run_at_head",
        "size",
        "tag",
    )

    def __init__(self, request: Request | None, size: int, dialect: Dialect, error: Exception | None = None) -> None:
        self.request = request
        self.tag = NO_TAG if request is None else request.tag
        self.size = size
        self.dialect = dialect
        self.error = error
        # The text of the error answer, for the audit log.
        self.error_text = ""
        # The name of the port that it came from.
        self.peer = ""
        self.command: Command | None = None
        self.bound: dict[str, Any] = {}
        # Its client has left, or a thaw revoked it; see `Command.revocable`.
        self.revoked = False
        # Called when the call is first in the queue of its file handle.
        self.run_at_head: Callable[[], None] | None = None

    @property
    def cost(self) -> int:
        """Memory that the call takes until it is answered, in bytes."""
        return self.size + _CALL_COST

    @property
    def ordered(self) -> bool:
        """Whether answers must come in the order of requests, because no tag identifies them."""
        return self.request is None or self.dialect.ordered or self.request.ordered

    @property
    def handle(self) -> Any:
        """The file handle that the call works on, or None."""
        return self.bound[self.command.handle] if self.command is not None and self.command.handle else None


class Opened:
    """The result of a handler that opens streams.

    Args:
        answer: Members of the answer, without the stream numbers.
        endpoints: The guest's end of each stream, by the member of the answer that has the stream's number.
        credit: Bytes that each stream may send at first.
    """

    __slots__ = ("answer", "credit", "endpoints")

    def __init__(self, answer: dict[str, Any], endpoints: dict[str, Endpoint], credit: int) -> None:
        self.answer = answer
        self.endpoints = endpoints
        self.credit = credit
