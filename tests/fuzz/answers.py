"""A hostile guest: answers that are nearly right, and anything else."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from phoenix_ga.client import HANG_UP, CommandError, MockTransport
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.messages import Request
from phoenix_ga.wire.units import Frame
from tests.client.test_hostile_answers import answer_of, at, changed, places
from tests.ends.client import DATA, END, RESET, SKIP, WINDOW, encode_frame

# Seconds of silence after which the guest hangs up, so that every command ends.
_SILENCE: Final = 0.01
_FRAMES_MAX: Final = 200
_STREAMS: Final = (5, 6, 9, 10)
_EVIL: Final[Sequence[str]] = (
    *("", "x", "\x1b]0;owned\x07\x1b[2J", "\x9b31m", "\u202e", "[bold]", "\ud800", "\0", "a/../../b", "/etc/passwd"),
    *("..", "name\nwith a line", "\r", "y" * 5000, "-rf", "%s"),
)
_NUMBERS: Final = (0, 1, -1, 5, 9, 2**31, 2**63, 10**30, 1.5, -1e300)


class HostileGuest(MockTransport):
    """A guest that answers each request at random; it hangs up when it has nothing to say."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__({name: self._answer_to for name in BY_NAME if name != "sync"}, on_frame=self._frames)
        self._chance = chance
        self._frames_left = _FRAMES_MAX
        if chance.random() < 0.05:
            self.answers["sync"] = self._answer_to

    async def read(self) -> bytes:
        try:
            data = await asyncio.wait_for(super().read(), _SILENCE)
        except asyncio.TimeoutError:
            self.hang_up()
            return b""
        # The pieces of an answer arrive as they like.
        return data

    def _answer_to(self, request: Request) -> Any:
        kinds: Sequence[Callable[[Request], Any]] = (
            *[self._right] * 3,
            *[self._nearly_right] * 5,
            lambda request: self._value(),
            lambda request: CommandError(
                self._chance.choice(_EVIL), self._chance.choice((-1, 0, 1, 2, 13, 16, 10**6))
            ),
            lambda request: self._garbage(),
            lambda request: HANG_UP,
        )
        answer = self._chance.choice(kinds)(request)
        if answer is not HANG_UP and self._chance.random() < 0.5:
            # After the answer, so that it has named the streams.
            asyncio.get_running_loop().call_soon(self._feed_frames)
        return answer

    def _feed_frames(self) -> None:
        self.feed(b"".join(self._frame() for _ in range(self._chance.choice((1, 2, 5)))))

    def _right(self, request: Request) -> Any:
        command = BY_NAME.get(request.execute)
        if command is None:
            return self._value()
        answer = answer_of(command)
        if isinstance(answer, dict) and "stream" in answer:
            answer = {**answer, "stream": 5, **({"stderr": 6} if "stderr" in answer else {})}
        return answer

    def _nearly_right(self, request: Request) -> Any:
        answer = self._right(request)
        for _ in range(self._chance.choice((1, 1, 2, 4))):
            places_of_it = [*places(answer)]
            path = self._chance.choice(places_of_it)
            value = self._alike(at(answer, path)) if self._chance.random() < 0.7 else self._value()
            answer = changed(answer, path, value)
        return answer

    def _alike(self, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, (int, float)):
            return self._chance.choice(_NUMBERS)
        if isinstance(value, str):
            return self._chance.choice(_EVIL)
        if isinstance(value, list):
            return value * self._chance.choice((0, 2, 50))
        return self._value()

    def _value(self, depth: int = 0) -> Any:
        chance = self._chance
        kind = chance.randrange(6 if depth < 3 else 4)
        if kind < 2:
            return chance.choice(_EVIL)
        if kind < 4:
            return chance.choice((*_NUMBERS, None, True, False))
        count = chance.choice((0, 1, 3))
        if kind == 4:
            return [self._value(depth + 1) for _ in range(count)]
        return {chance.choice((*_EVIL, "name", "stream")): self._value(depth + 1) for _ in range(count)}

    def _garbage(self) -> bytes:
        chance = self._chance
        text = json.dumps({"return": self._value(), "tag": self._value()}).encode() + b"\n"
        return chance.choice(
            (
                chance.randbytes(chance.choice((1, 50, 3000))),
                chance.choice((b"{", b"[", b'"', b"\xff", b"\xfb", b"\n", b"{}", b"1"))
                * chance.choice((1, 100, 20_000)),
                text,
                text[: chance.randrange(len(text))],
                text * 50,
                b'{"error": {}}\n',
                b'{"error": {"bufb64": "!", "code": 1}}\n',
                self._frame() * 20,
            )
        )

    def _frames(self, frame: Frame) -> bytes:
        """Return what answers a frame of the client."""
        if not self._frames_left:
            return b""
        self._frames_left -= 1
        return b"".join(self._frame() for _ in range(self._chance.choice((0, 1, 1, 3))))

    def _frame(self) -> bytes:
        chance = self._chance
        type = chance.choice((DATA, DATA, DATA, END, END, WINDOW, RESET, SKIP, 0, 77))
        stream = chance.choice((*_STREAMS[:2], *_STREAMS))
        if type in (END, RESET) and chance.random() < 0.8:
            status = {"status": chance.choice((0, 0, 1, 127, 300, -1)), "size": chance.choice((0, 2, 10**20))}
            payload = json.dumps(
                chance.choice((status, {"signal": 9}, {"error": {"bufb64": "eA==", "code": 5}}, self._value()))
            ).encode()
        elif type == WINDOW:
            payload = chance.choice((1, 65536, 2**32 - 1, 0)).to_bytes(4, "big")
        elif type == SKIP:
            payload = chance.choice((1, 4096, 2**40, 0)).to_bytes(8, "big")
        else:
            payload = chance.choice(
                (b"hi", b"\x1b[2J\n", chance.randbytes(chance.choice((0, 1, 512, 5000))), b"./x\0" * 9, bytes(1024))
            )
        return encode_frame(type, stream, payload)
