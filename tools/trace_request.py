"""Shows the way of a request through the agent: the functions that run between its bytes and its answer's.

    python -m tools.trace_request ['{"execute": "ping"}']

The agent serves a socket pair in this process. The first request loads what it needs; the second is traced, from
the channel's call with the bytes until the channel gets the answer. Constructors and properties of plain data
(calls, requests) are shown, but do not count as a module on the way.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, Final

import phoenix_ga
from phoenix_ga.agent.config import Config
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.channel import Channel
from phoenix_ga.agent.core.log import Log
from phoenix_ga.agent.core.loop import Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.protocol.conversation import Conversation
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.agent.protocol.scheduler import Scheduler

_PACKAGE: Final = Path(phoenix_ga.__file__).parent
_CHANNEL: Final = "agent/core/channel.py"
_DATA: Final = "agent/protocol/call.py"


class Trace:
    """Records the calls of functions of the package, while it is on."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str, str]] = []
        self._depth = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(_PACKAGE):
            return
        if event == "call":
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
            self.calls.append((self._depth, str(path.relative_to(_PACKAGE)), name))
            self._depth += 1
        else:
            self._depth -= 1

    def between_bytes(self) -> list[tuple[int, str, str]]:
        """Return the calls between the channel's read and its next write."""
        names = [f"{path}:{name}" for _, path, name in self.calls]
        read = next(index for index, name in enumerate(names) if name.startswith(_CHANNEL) and name.endswith("_read"))
        sent = next(index for index, name in enumerate(names) if name.startswith(_CHANNEL) and name.endswith("send"))
        return [call for call in self.calls[read:sent] if call[1] != _CHANNEL]


def modules_on_the_way(calls: list[tuple[int, str, str]]) -> list[str]:
    """Return the modules whose functions run, in order, plain data left out."""
    return [*dict.fromkeys(path for _, path, name in calls if path != _DATA and not name.endswith("__init__"))]


def trace(request: bytes) -> list[tuple[int, str, str]]:
    """Return the calls that answer a request, the second time that it is sent."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    loop, trace = Loop(), Trace()
    with tempfile.TemporaryDirectory() as directory:
        config = Config(run_directory=directory, state_directory=directory)
        context = Context(config, Policy(), Log(), Handles(4), loop, loop.stop)
        dispatcher = Dispatcher(context, NATIVE, lambda: QGA)
        dispatcher.load_needed(NATIVE)
        channel = Channel(loop, ours.detach(), connected=True)
        conversation = Conversation(Scheduler(dispatcher, loop, Workers(2)), channel, "port", loop.stop)
        # Stop the loop after each answer.
        conversation.ending = True
        channel.start(conversation.received, conversation.drained, loop.stop, lambda: None, lambda error: loop.stop())
        for number in range(2):
            theirs.sendall(request + b"\n")
            if number:
                sys.setprofile(trace)
            loop.run()
            sys.setprofile(None)
            theirs.recv(1 << 20)
        channel.close()
    theirs.close()
    return trace.between_bytes()


def main() -> int:
    """Print the way of the request on the command line, and the modules on it."""
    request = os.fsencode(sys.argv[1]) if len(sys.argv) > 1 else b'{"execute": "ping"}'
    calls = trace(request)
    for depth, path, name in calls:
        print(f"{'  ' * depth}{path.removesuffix('.py')}: {name}")
    modules = modules_on_the_way(calls)
    print(f"\n{len(modules)} modules: {', '.join(module.removesuffix('.py') for module in modules)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
