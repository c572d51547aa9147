"""The agent end: an agent on Unix sockets that answers from a script, however hostile the script is.

What a script may say is documented with `phoenix_ga.client.MockTransport`, which plays it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from phoenix_ga.testing.mock_agent import MockAgent as ScriptedAgent
from phoenix_ga.testing.mock_agent import play
from phoenix_ga.wire.messages import Request, encode_return
from phoenix_ga.wire.streams import Stream

__all__ = ["ScriptedAgent", "listed", "play"]

_streams = itertools.count(1000)


def listed(*entries: Any) -> Callable[[Request], bytes]:
    """Return what answers `directory-entries` with objects as of `file-stat`,."""

    def line(entry: dict[str, Any], names: bool) -> bytes:
        numbers = [
            value["Sec"] * 10**9 + value["Nsec"] if isinstance(value, dict) else value
            for value in entry["stat"].values()
        ]
        texts = [entry.get(name, "") for name in ("user", "group", "target")] if names else []
        return json.dumps([entry["name"], *numbers, *texts]).encode() + b"\n"

    def answer(request: Request) -> bytes:
        number = next(_streams)
        stream = Stream(number, credit=1 << 30, window=0)
        pieces = [b"".join(encode_return({"stream": number}, request.tag))]
        lines = b"".join(line(entry, request.arguments["names"]) for entry in entries)
        for start in range(0, len(lines), 65536):
            payload = lines[start : start + 65536]
            pieces += [stream.data_header(len(payload)), payload]
        return b"".join([*pieces, stream.end({})])

    return answer
