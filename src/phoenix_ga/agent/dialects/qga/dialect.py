"""The dialect of the QEMU Guest Agent, as docs/qga.md describes it."""

from __future__ import annotations

from errno import EBUSY

from phoenix_ga.agent.dialects.qga.agent import Delimited
from phoenix_ga.agent.dialects.qga.commands import BY_NAME
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.agent.protocol.dialect import Dialect
from phoenix_ga.agent.protocol.policy import NotPermittedError
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import NO_CODE, NO_TAG, JsonText, MessageError, Request
from phoenix_ga.wire.units import RESET_BYTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.protocol.dialect import Pieces
    from phoenix_ga.wire.declaration import Command

# The escape of a surrogate. Few JSON parsers accept a lone one, which is a byte that is not UTF-8.
_SURROGATE: Final = b"\\ud"


class CommandNotFoundError(CommandError):
    """A command that is not there, or not now."""

    def __init__(self, text: str) -> None:
        super().__init__(text, NO_CODE)


class GuestDialect(Dialect):
    """The tag of its requests is their `id`, and does not let answers overtake each other."""

    handlers = "phoenix_ga.agent.dialects.qga."
    commands = BY_NAME
    ordered = True
    hidden = frozenset(("buf-b64", "buf_b64", "input-data", "input_data", "password"))

    def request(self, message: Any) -> Request:
        if type(message) is not dict:
            raise MessageError("QMP input must be a JSON object")
        tag = message.get("id", NO_TAG)
        for name, value in message.items():
            if name == "execute":
                if type(value) is not str:
                    raise MessageError("QMP input member 'execute' must be a string", tag)
            elif name == "arguments":
                if type(value) is not dict:
                    raise MessageError("QMP input member 'arguments' must be an object", tag)
            elif name != "id":
                raise MessageError(f"QMP input member '{name}' is unexpected", tag)
        if "execute" not in message:
            raise MessageError("QMP input lacks member 'execute'", tag)
        return Request(message["execute"], message.get("arguments", {}), tag)

    def unknown(self, name: str) -> CommandError:
        return CommandNotFoundError(f"The command {name} has not been found")

    def encode_return(self, value: Any, tag: Any) -> Pieces:
        pieces = value.pieces if isinstance(value, JsonText) else (b"{}" if value is None else _encode(value),)
        answer = [b'{"return": ', *pieces, _encode_id(tag)]
        return [RESET_BYTE, *answer] if type(value) is Delimited else answer

    def encode_error(self, error: Exception, text: str, code: int, command: Command | None, tag: Any) -> bytes:
        kind = "GenericError"
        if isinstance(error, NotPermittedError) and command is not None:
            kind = "CommandNotFound"
            reason = "the agent is in frozen state" if error.errno == EBUSY else "the command is not allowed"
            text = f"Command {command.name} has been disabled: {reason}"
        elif isinstance(error, CommandNotFoundError):
            kind = "CommandNotFound"
        return b'{"error": %s%s' % (_encode({"class": kind, "desc": text}), _encode_id(tag))


def _encode(value: Any) -> bytes:
    text = encode_json(value)
    return encode_json(_replace_lone(value)) if _SURROGATE in text else text


def _replace_lone(value: Any) -> Any:
    """Return the value with U+FFFD for each lone surrogate."""
    if type(value) is str:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)
    if type(value) is list:
        return [_replace_lone(element) for element in value]
    if type(value) is dict:
        return {_replace_lone(name): _replace_lone(element) for name, element in value.items()}
    return value


def _encode_id(tag: Any) -> bytes:
    if tag is NO_TAG:
        return b"}\n"
    try:
        return b', "id": %s}\n' % encode_json(tag)
    except (RecursionError, MemoryError):
        return b"}\n"


QGA = GuestDialect()
