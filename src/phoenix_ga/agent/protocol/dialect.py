"""The base class of dialects."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from phoenix_ga.agent.context import Context
    from phoenix_ga.agent.protocol.call import CommandError
    from phoenix_ga.wire.declaration import Command
    from phoenix_ga.wire.messages import Request

    Pieces = list[bytes | bytearray | memoryview]

_OPERATIONS: Final = "phoenix_ga.agent.operations."


class Dialect:
    """A set of commands, and the form of requests and answers.

    Attributes:
        handlers: The package that holds the handlers of its commands, with a trailing dot.
        commands: Its commands by name, aliases included.
        ordered: All answers come in the order of the requests.
        hidden: Names of arguments whose values are too long or too secret for the log.
    """

    handlers: str
    commands: Mapping[str, Command]
    ordered = False
    hidden: frozenset[str]

    def request(self, message: Any) -> Request:
        """Return the request that a JSON value holds.

        Raises:
            MessageError: It holds none.
        """
        raise NotImplementedError

    def handler(self, command: Command) -> Callable[..., Any]:
        """Import and return the handler of a command, or make one that calls its operation."""
        if command.operation:
            return _forward(_load(_OPERATIONS, command.operation), command)
        return _load(self.handlers, command.handler)

    def unknown(self, name: str) -> CommandError:
        """Return the error for a command that does not exist."""
        raise NotImplementedError

    def encode_return(self, value: Any, tag: Any) -> Pieces:
        """Return the answer that carries `value`, in pieces to be sent in turn."""
        raise NotImplementedError

    def encode_error(self, error: Exception, text: str, code: int, command: Command | None, tag: Any) -> bytes:
        """Return the answer that reports `error`, described by `text` and the errno `code` (or NO_CODE)."""
        raise NotImplementedError


def _load(package: str, name: str) -> Callable[..., Any]:
    module_name, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(__import__(package + module_name, fromlist=(function,)), function)
    return found


def _forward(operation: Callable[..., Any], command: Command) -> Callable[..., Any]:
    """Return a handler that calls an operation with the arguments under their Python names."""

    def handler(context: Context, **arguments: Any) -> Any:
        value = operation(**{argument.python: arguments[argument.name] for argument in command.arguments})
        return True if value is None else value

    return handler
