"""The Phoenix dialect, see docs/protocol.md."""

from __future__ import annotations

from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.agent.protocol.dialect import Dialect
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.messages import NO_CODE, encode_error, encode_return, make_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.wire.declaration import Command


class NativeDialect(Dialect):
    handlers = "phoenix_ga.agent.dialects.native."
    commands = BY_NAME
    hidden = frozenset(("bufb64", "passphrase"))
    # Without wrappers, because each call takes time.
    request = staticmethod(make_request)
    encode_return = staticmethod(encode_return)

    def unknown(self, name: str) -> CommandError:
        return CommandError(f"there is no command {name!r}; get-commands lists them", NO_CODE)

    def encode_error(self, error: Exception, text: str, code: int, command: Command | None, tag: Any) -> bytes:
        return encode_error(text, code, tag)


NATIVE = NativeDialect()
