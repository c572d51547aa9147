"""Many mock guests in one process: `python -m bench.fleet.mock_guests DIRECTORY`.

Reads a list of [NAME, KIND] as JSON from stdin, listens on DIRECTORY/NAME.sock for each, prints a line when all
listen, and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable
from typing import Any, Final

from phoenix_ga.agent.operations.metrics import read_metrics
from phoenix_ga.client import HANG_UP, SILENCE, MockTransport, Transport
from phoenix_ga.testing.mock_agent import Pouring, play
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import Request

HONEST: Final = "honest"
HUNG: Final = "hung"
_VERSION: Final = "1.0.0"
_BACKLOG: Final = 64
_TEXT: Final = '\x1b]0;owned\x07\n"} 1\\'


def _returned(value: Any) -> Callable[[Request], bytes]:
    """Return an answer that is encoded once, because a guest's own time is no cost of the host."""
    encoded = bytes(encode_json(value))
    return lambda request: b'{"return": %s, "tag": %s}\n' % (encoded, encode_json(request.tag))


# The counters of this machine, as a guest's agent reads them.
_METRICS: Final = read_metrics(False)
_DISKS: Final = [{"name": f"sd{_TEXT}{number}", "reads": number} for number in range(12_000)]
# By kind: the script of MockTransport.
_SCRIPTS: Final[dict[str, dict[str, Any]]] = {
    HONEST: {"metrics": _returned(_METRICS), "ping": _VERSION},
    HUNG: {"sync": SILENCE},
    "half-hung": {"metrics": SILENCE},
    "hangs-up": {"metrics": HANG_UP},
    "many-series": {"metrics": _returned({**_METRICS, "disks": _DISKS, "os": {"id": _TEXT}}), "ping": _VERSION},
    "many-values": {"metrics": b'{"return": [' + b"[]," * 300_000 + b"1]}\n"},
    "nested": {"metrics": b"[" * 100_000 + b"\n"},
    "no-json": {"sync": lambda request: b"login: \n" * 3},
    "wrong-type": {"metrics": _returned([1, 2])},
}
# By kind: the piece that is sent for ever, and the pause after it.
_POURING: Final = {
    "drip": (b"{", 0.1),
    "endless-line": (b"x" * 65536, 0.0),
    "endless-lines": (b'{"return": 1}\n' * 4096, 0.0),
}
#: The kinds that are hostile. All but "many-series" break the protocol.
HOSTILE: Final = (*(kind for kind in _SCRIPTS if kind not in (HONEST, HUNG)), *_POURING)


def _transport(kind: str) -> Transport:
    return Pouring(*_POURING[kind]) if kind in _POURING else MockTransport(_SCRIPTS[kind])


async def _listen(kind: str, path: str) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = _transport(kind)
        await play(transport, reader, writer)
        await transport.close()

    await asyncio.start_unix_server(converse, path, limit=2**20, backlog=_BACKLOG)


async def _main(directory: str) -> None:
    for name, kind in json.loads(sys.stdin.readline()):
        await _listen(kind, f"{directory}/{name}.sock")
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(_main(sys.argv[1]))
