"""Log lines about requests: all for debugging, and an audit of those that change the guest."""

from __future__ import annotations

from phoenix_ga.agent.core.log import DEBUG, NOTICE
from phoenix_ga.wire.json_text import encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.core.log import Log
    from phoenix_ga.agent.protocol.call import Call

# Maximum length of a value, in characters.
_SHOWN_MAX: Final = 200


def log_request(log: Log, peer: str, call: Call) -> None:
    """Log a request as it was received, for debugging."""
    request = call.request
    shown: object = call.error
    if request is not None and request.execute:
        shown = f"{request.execute[:100]} {_shown(request.arguments, call.dialect.hidden)}"
    log.write(DEBUG, f"{peer}: {shown}")


def audit(log: Log, peer: str, call: Call) -> None:
    """Log what a call did, if its command changes the guest."""
    command = call.command
    if command is not None and command.changes and command.changes_guest(call.bound):
        outcome = f"failed: {call.error_text}" if call.error_text else "done"
        parts = (f"audit: {peer}:", command.name, _shown(call.bound, call.dialect.hidden), outcome)
        log.write(NOTICE, " ".join(part for part in parts if part))


def _shown(arguments: dict[str, Any], hidden: frozenset[str]) -> str:
    """Return the arguments without bulk data and secrets."""
    parts = []
    for name, value in arguments.items():
        if name in hidden:
            text = f"<{len(str(value))} characters>"
        elif name == "env" and isinstance(value, (dict, list)):
            # The values may be secrets.
            text = " ".join(str(variable).partition("=")[0] for variable in value)[:_SHOWN_MAX]
        else:
            # A path may be as long as a line.
            try:
                text = encode_json(value[:_SHOWN_MAX] if isinstance(value, str) else value).decode("ascii")
            except (RecursionError, MemoryError):
                text = "..."
            if len(text) > _SHOWN_MAX:
                text = text[:_SHOWN_MAX] + "..."
        parts.append(f"{name[:40]}={text}")
    return " ".join(parts)
