"""Dispatch: look a command up, check the call, run its handler, encode the answer."""

from __future__ import annotations

import errno

from phoenix_ga.agent.core.nowait import WouldBlock
from phoenix_ga.agent.protocol.call import Opened
from phoenix_ga.agent.protocol.error_text import OUT_OF_MEMORY, describe
from phoenix_ga.wire.messages import NO_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.context import Context
    from phoenix_ga.agent.protocol.call import Call
    from phoenix_ga.agent.protocol.dialect import Dialect, Pieces
    from phoenix_ga.wire.declaration import Command

# Maximum length of an error's text in the audit log, in characters.
_ERROR_SHOWN: Final = 200


class Dispatcher:
    """Runs the handlers of commands, on the calling thread.

    Args:
        context: The state of the running agent that handlers may use.
        native: The Phoenix dialect.
        load_qga: Imports and returns the dialect of the QEMU Guest Agent.
    """

    def __init__(self, context: Context, native: Dialect, load_qga: Callable[[], Dialect]) -> None:
        self.context = context
        self.native = native
        self._load_qga = load_qga
        # The dialect of the QEMU Guest Agent, once `load_qga` has run.
        self.qga: Dialect | None = None
        self._handlers: dict[Command, Callable[..., Any]] = {}
        # Only handlers that are loaded: the loop must not import anything.
        self._nowait_handlers: dict[Command, Callable[..., Any]] = {}

    def bind(self, call: Call) -> None:
        """Look the command up and bind its arguments; a failure becomes the call's error."""
        request = call.request
        if call.error is not None or request is None or call.command is not None:
            return
        command = call.dialect.commands.get(request.execute)
        if command is None:
            call.error = call.dialect.unknown(request.execute[:100])
            return
        if command.takes_arguments or request.arguments:
            try:
                call.bound = command.bind(request.arguments)
            except Exception as error:
                call.error = error
                return
        call.command = command

    def check(self, call: Call) -> None:
        """Raise an exception if the call is malformed, or the policy forbids it."""
        if call.error is not None:
            raise call.error
        command, policy = call.command, self.context.policy
        assert command is not None
        # Such a command can only be refused by a policy that refuses something.
        if policy.restricts or not command.while_frozen:
            policy.check(command, call.bound, self.context.frozen)

    def run(self, call: Call) -> Pieces | Opened:
        """Check the call, run its handler, and return the answer. Never raises."""
        try:
            self.check(call)
            command = call.command
            assert command is not None
            handler = self._handlers.get(command) or self.load(call.dialect, command)
            if command.revocable or command.revokes:
                self.context.freezing_for = call.peer
            if command.revocable:
                value = handler(self.context, revoked=lambda: call.revoked, **call.bound)
            else:
                value = handler(self.context, **call.bound)
            return value if type(value) is Opened else self.encode(call, value)
        except Exception as error:
            return self.refuse(call, error)

    def answer(self, call: Call) -> Pieces:
        """Run a command that opens no streams, as `run` does."""
        pieces = self.run(call)
        assert not isinstance(pieces, Opened)
        return pieces

    def run_nowait(self, call: Call) -> Pieces | None:
        """Run the handler's variant for the loop, as `core.nowait` describes it.

        Returns:
            The answer, or None if a worker must run the call, because nothing was done.
        """
        assert call.command is not None
        handler = self._nowait_handlers.get(call.command)
        if handler is None:
            return None
        try:
            self.check(call)
            value = handler(self.context, **call.bound)
        except WouldBlock:
            return None
        except Exception as error:
            return self.refuse(call, error)
        try:
            return self.encode(call, value)
        except Exception as error:
            return self.refuse(call, error)

    def encode(self, call: Call, value: Any) -> Pieces:
        """Return the answer that carries `value`."""
        assert call.command is not None
        return call.dialect.encode_return(value, call.tag) if call.command.answers else []

    def refuse(self, call: Call, error: Exception) -> Pieces:
        """Return the answer that reports `error`. Never raises."""
        try:
            text, code = describe(error, self.context.log)
            call.error_text = text[:_ERROR_SHOWN]
            return [call.dialect.encode_error(error, text, code, call.command, call.tag)]
        except MemoryError:
            return [call.dialect.encode_error(MemoryError(), OUT_OF_MEMORY, errno.ENOMEM, None, NO_TAG)]

    def load(self, dialect: Dialect, command: Command) -> Callable[..., Any]:
        """Return the handler of a command; its module is imported on first use."""
        handler = self._handlers.get(command)
        if handler is None:
            handler = self._handlers[command] = dialect.handler(command)
            if command.nowait:
                module = __import__(handler.__module__, fromlist=(command.nowait,))
                self._nowait_handlers[command] = getattr(module, command.nowait)
        return handler

    def load_needed(self, dialect: Dialect) -> None:
        """Import the handlers that run on the loop or must run at once."""
        for command in dialect.commands.values():
            if command.inline or command.urgent:
                self.load(dialect, command)

    def load_before_freeze(self, dialect: Dialect) -> None:
        """Import the handlers that run while filesystems are frozen."""
        for command in dialect.commands.values():
            if command.while_frozen:
                self.load(dialect, command)

    def load_qga(self) -> Dialect:
        """Return the dialect of the QEMU Guest Agent, which most agents never need. For workers."""
        dialect = self.qga
        if dialect is None:
            dialect = self._load_qga()
            self.load_needed(dialect)
            self.qga = dialect
        return dialect
