"""What a dialect is: how requests name commands, and how answers look."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from phoenix_ga.wire.declaration import Command
    from phoenix_ga.wire.messages import Request

    Pieces = list[bytes | bytearray | memoryview]


class CommandError(ValueError):
    """A request that can't be run, for a reason that has the errno `code`, or NO_CODE."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Dialect:
    """One way to ask the agent.

    handlers: the package with the handlers of its commands. ordered: all answers come in the order of
    the requests. hidden: the arguments whose values are too long, or too secret, for the log.
    """

    handlers: str
    ordered = False
    hidden: frozenset[str]

    def commands(self) -> Iterable[Command]:
        """Return all its commands."""
        raise NotImplementedError

    def request(self, message: Any) -> Request:
        """Return the request that a JSON value is. Raises MessageError where it is none."""
        raise NotImplementedError

    def find(self, request: Request) -> Command:
        """Return the command that a request names. Raises CommandError."""
        raise NotImplementedError

    def encode_return(self, value: Any, command: Command, tag: Any) -> Pieces:
        """Return the answer with what a command returned, in pieces to be sent in turn."""
        raise NotImplementedError

    def encode_error(self, error: Exception, text: str, code: int, command: Command | None, tag: Any) -> bytes:
        """Return the answer that tells of `error`. text, code: what is said of it, and its errno or NO_CODE."""
        raise NotImplementedError
