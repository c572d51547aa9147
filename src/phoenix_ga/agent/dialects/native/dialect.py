"""The Phoenix dialect, as docs/protocol.md describes it."""

from __future__ import annotations

from phoenix_ga.agent.protocol.dialect import CommandError, Dialect
from phoenix_ga.wire.commands import BY_NAME, COMMANDS
from phoenix_ga.wire.messages import NO_CODE, encode_error, encode_return, make_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from phoenix_ga.agent.protocol.dialect import Pieces
    from phoenix_ga.wire.declaration import Command
    from phoenix_ga.wire.messages import Request


class NativeDialect(Dialect):
    handlers = "phoenix_ga.agent.dialects.native."
    hidden = frozenset(("bufb64",))

    def commands(self) -> Iterable[Command]:
        return COMMANDS

    def request(self, message: Any) -> Request:
        return make_request(message)

    def find(self, request: Request) -> Command:
        command = BY_NAME.get(request.execute)
        if command is None:
            raise CommandError(f"there is no command {request.execute[:100]!r}; get-commands lists them", NO_CODE)
        return command

    def encode_return(self, value: Any, command: Command, tag: Any) -> Pieces:
        return encode_return(value, tag)

    def encode_error(self, error: Exception, text: str, code: int, command: Command | None, tag: Any) -> bytes:
        return encode_error(text, code, tag)


NATIVE = NativeDialect()
