"""Random input for an agent: requests in both dialects, frames, and what comes of them by damage."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from phoenix_ga.agent.dialects.qga.commands import BY_NAME as QGA_COMMANDS
from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import Argument, Command
from tests.ends.client import DATA, END, RESET, SKIP, WINDOW, encode_frame

#: They would end the agent or the machine, or cannot be undone even in a sandbox.
FORBIDDEN: Final = {
    *("agent-shutdown", "guest-shutdown", "guest-set-time"),
    *("guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"),
}
# These take milliseconds or more: one in twenty is enough.
_SLOW: Final = {
    *("exec", "exec-attach", "guest-exec", "directory-get", "directory-put", "fs-freeze", "fs-unfreeze", "sysinfo"),
    "metrics",
    *("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw", "guest-fstrim", "sync"),
    *("guest-get-disks", "guest-get-fsinfo", "guest-get-osinfo", "guest-set-user-password", "guest-get-devices"),
    *("file-put", "connect", "listen", "guest-set-vcpus", "guest-get-timezone"),
}
_PROGRAMS: Final[Sequence[list[str]]] = (
    ["true"],
    ["cat"],
    ["false"],
    ["/nowhere"],
    ["head", "-c", "100000", "/dev/zero"],
    [],
)
_INTEGERS: Final = (0, 1, -1, 2, 7, 255, 4096, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 10**30)
_TEXTS: Final[Sequence[str]] = (
    "",
    "x",
    "\0",
    "\ud800",
    "\u00e9",
    "\u202e",
    "x" * 3000,
    "../..",
    "*",
    "{",
    "\n",
    "%s%n",
    "\x1b[2J",
)
_SOUP: Final = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"'",
        b"\\",
        b",",
        b":",
        b"null",
        b"true",
        b"1",
        b"-",
        b"1e9",
        b"0.5",
        b" ",
        b"\n",
    ),
    *(b'"execute"', b'"ping"', b'"guest-ping"', b'"arguments"', b'"tag"', b"\xff", b"\xfe", b"\xfb", b"\0", b"\\u00"),
    *(b"{}", b"9" * 500, b'{"execute": "ping"}', b"{'execute': 'guest-ping'}", b"a\xc3", b"\r\n", b"NaN", b"//"),
)
_FRAME_TYPES: Final = (DATA, WINDOW, END, RESET, SKIP)
_NAMES: Final = {
    "host": ("", "127.0.0.1", "::1", "nowhere.invalid"),
    "ifname": ("lo", "eth0", "", "x" * 40),
    "ip": ("192.0.2.1/24", "2001:db8::1/64", "192.0.2.1", "x/y"),
    "dst": ("default", "198.51.100.0/24", "x"),
    "src": ("", "192.0.2.1"),
    "gateway": ("", "192.0.2.254"),
    "user": ("", "root", "nobody", "nowhere"),
    "group": ("", "root", "nogroup"),
    "username": ("root", "nobody", "nowhere"),
    "mode": ("r", "w", "a", "r+", "rb", "x"),
    "timeout": (0, 1, -1),
    "whence": (0, 1, 2, "set", "cur", "end", 9),
}


@dataclass
class Known:
    """What the agent has told: numbers that requests and frames can name. Never empty, so that a seed decides all."""

    directory: str
    handles: list[int] = field(default_factory=lambda: [1000])
    streams: list[int] = field(default_factory=lambda: [1])
    pids: list[int] = field(default_factory=lambda: [2])


class Requests:
    """Makes random input for an agent."""

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self._known = known
        self._kinds: Sequence[Callable[[], bytes]] = (
            *[self.native] * 30,
            *[self.guest] * 20,
            *[self.frame] * 15,
            *[self.damaged] * 20,
            *[self.soup] * 10,
            *[self.noise] * 4,
            self.flood,
        )

    def openings(self) -> list[bytes]:
        """Return requests that open files and streams, each with a tag."""
        path, pick = self._path, self._chance.choice
        streams = (
            {"execute": "exec", "arguments": {"argv": ["cat"]}},
            {"execute": "exec", "arguments": {"argv": ["cat"], "terminal": True}},
            {"execute": "exec", "arguments": {"argv": ["head", "-c", "300000", "/dev/zero"]}},
            {"execute": "file-put", "arguments": {"path": path(), "digest": pick((True, False))}},
            {"execute": "file-get", "arguments": {"path": f"{self._known.directory}/big", "window": pick((1, 5000))}},
            {"execute": "directory-get", "arguments": {"path": f"{self._known.directory}/tree"}},
            {"execute": "directory-put", "arguments": {"path": path()}},
            {"execute": "listen", "arguments": {"host": "127.0.0.1"}},
        )
        requests = [
            {"execute": "file-open", "arguments": {"path": f"{self._known.directory}/big"}},
            {"execute": "file-open", "arguments": {"path": path(), "mode": "w", "force": True}},
            {"execute": "guest-file-open", "arguments": {"path": f"{self._known.directory}/big"}},
            *(pick(streams) for _ in range(self._chance.choice((0, 0, 1, 2)))),
        ]
        tags = ("id" if str(request["execute"]).startswith("guest-") else "tag" for request in requests)
        return [_line({**request, tag: number}) for number, (request, tag) in enumerate(zip(requests, tags))]

    def input(self) -> bytes:
        """Return one input."""
        return self._chance.choice(self._kinds)()

    def native(self) -> bytes:
        """Return a request of a command of the Phoenix dialect, with arguments that are mostly right."""
        command = self._pick(_NATIVE, _NATIVE_SLOW)
        arguments = {
            argument.name: self._argument(argument)
            for argument in command.arguments
            if self._chance.random() < (0.95 if argument.required else 0.3)
        }
        return self._request(command.name, arguments, "tag")

    def guest(self) -> bytes:
        """Return a request of a command of the QEMU Guest Agent's dialect."""
        name = self._pick(_GUEST, _GUEST_SLOW)
        members = QGA_COMMANDS[name].parameters
        arguments = {
            member.name: self._named(member.name, self.value) for member in members if self._chance.random() < 0.8
        }
        line = self._request(name, arguments, "id")
        return line.replace(b'"', b"'") if self._chance.random() < 0.1 and b"'" not in line else line

    def frame(self) -> bytes:
        """Return a frame, well-formed or not."""
        chance = self._chance
        type = chance.choice(_FRAME_TYPES) if chance.random() < 0.9 else chance.randrange(256)
        stream = chance.choice(self._known.streams) if chance.random() < 0.7 else chance.choice((0, 1, 2**32 - 1))
        payload = chance.choice(
            (
                b"",
                chance.randbytes(chance.choice((1, 4, 8, 100, 5000))),
                chance.choice((0, 1, 100_000, 2**32 - 1)).to_bytes(4, "big"),
                chance.choice((0, 1, 4096, 2**64 - 1)).to_bytes(8, "big"),
                json.dumps(self.value()).encode(),
                b'{"error": {"bufb64": "", "code": 5}}',
                b'{"sha256": "%s"}' % (b"0" * 64),
            )
        )
        frame = encode_frame(type, stream, payload)
        if chance.random() < 0.05:
            frame = _damage(chance, frame)
        return frame

    def damaged(self) -> bytes:
        """Return a request or a frame with some bytes changed."""
        return _damage(self._chance, self._chance.choice((self.native, self.guest, self.frame))())

    def soup(self) -> bytes:
        """Return tokens of JSON in any order."""
        return b"".join(self._chance.choices(_SOUP, k=self._chance.randrange(1, 30))) + b"\n"

    def noise(self) -> bytes:
        """Return random bytes."""
        return self._chance.randbytes(self._chance.choice((1, 10, 100, 2000)))

    def flood(self) -> bytes:
        """Return one piece many times."""
        return self._chance.choice(_SOUP) * self._chance.choice((100, 1000, 4000)) + b"\n"

    def value(self, depth: int = 0) -> Any:
        """Return any JSON value."""
        chance = self._chance
        kind = chance.randrange(9 if depth < 3 else 6)
        if kind < 2:
            return chance.choice(_INTEGERS)
        if kind < 4:
            return chance.choice(_TEXTS)
        if kind < 6:
            return chance.choice((None, True, False, 0.5, -1e300, self._path()))
        count = chance.choice((0, 1, 2, 5))
        if kind < 8:
            return [self.value(depth + 1) for _ in range(count)]
        return {chance.choice(_TEXTS): self.value(depth + 1) for _ in range(count)}

    def _pick(self, quick: Sequence[Any], slow: Sequence[Any]) -> Any:
        return self._chance.choice(slow if self._chance.random() < 0.02 else quick)

    def _request(self, name: str, arguments: dict[str, Any], tag: str) -> bytes:
        chance = self._chance
        message: dict[str, Any] = {"execute": name}
        if arguments or chance.random() < 0.1:
            message["arguments"] = arguments
        if chance.random() < 0.05:
            message["arguments"] = self.value()
        if chance.random() < 0.6:
            message[tag] = chance.choice((1, "x", self.value()))
        if chance.random() < 0.03:
            message[chance.choice(_TEXTS)] = self.value()
        return _line(message)

    def _argument(self, argument: Argument) -> Any:
        chance = self._chance
        if chance.random() < 0.05:
            return self.value()
        if argument.choices:
            return chance.choice(argument.choices)
        if argument.kind is bool:
            # The agent keeps detached processes for an hour.
            return argument.name != "detach" and chance.random() < 0.5
        if argument.kind is dict:
            return {"NAME": "value", chance.choice(_TEXTS): chance.choice(_TEXTS)}
        if argument.kind is int:
            edge = chance.choice(
                (argument.minimum, argument.maximum, argument.maximum + 1, 0, 1, 100, *_INTEGERS[:6])
            )
            return self._named(argument.name, lambda: edge)
        return self._named(argument.name, lambda: chance.choice((*_TEXTS, self._path())))

    def _named(self, name: str, other: Callable[[], Any]) -> Any:
        """Return a value that fits an argument of this name, which is the same in both dialects mostly."""
        chance, known = self._chance, self._known
        if chance.random() < 0.1:
            return other()
        if name in ("path", "target", "part", "directory", "pattern", "mountpoint"):
            return self._path()
        if name in ("handle", "handle_id"):
            return chance.choice(known.handles)
        if name == "pid":
            return chance.choice(known.pids)
        if name == "argv":
            return chance.choice(_PROGRAMS)
        if name == "arg":
            return chance.choice(_PROGRAMS)[1:]
        if name in ("bufb64", "buf-b64", "input-data"):
            return base64.b64encode(chance.randbytes(chance.choice((0, 1, 100, 5000)))).decode()
        if name in ("count", "length", "n", "offset", "size"):
            return chance.choice((0, 1, 10, 4096, 50_000, 2**40))
        if name == "signal":
            return chance.choice((0, 1, 9, 15, 18, 64, 65))
        if name in _NAMES:
            return chance.choice(_NAMES[name])
        return other()

    def _path(self) -> str:
        names = ("big", "small", "new", "tree", "tree/x", "link", "dangling", "new/deeper", "\udce9", "", ".", "..")
        return f"{self._known.directory}/{self._chance.choice(names)}"


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _damage(chance: random.Random, data: bytes) -> bytes:
    """Return data with one to three places changed."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        start = chance.randrange(len(damaged) + 1)
        stop = start + chance.choice((0, 1, 1, 2, 10))
        new = chance.choice(
            (b"", b"", chance.choice(_SOUP), chance.randbytes(chance.choice((1, 2, 5))), data[start:])
        )
        damaged[start:stop] = new
    return bytes(damaged)


def _is_slow(name: str) -> bool:
    return name in _SLOW


_ALLOWED: Final[list[Command]] = [command for command in COMMANDS if command.name not in FORBIDDEN]
_NATIVE: Final = [command for command in _ALLOWED if not _is_slow(command.name)]
_NATIVE_SLOW: Final = [command for command in _ALLOWED if _is_slow(command.name)]
_GUEST: Final = [name for name in QGA_COMMANDS if name not in FORBIDDEN and not _is_slow(name)]
_GUEST_SLOW: Final = [name for name in QGA_COMMANDS if name not in FORBIDDEN and _is_slow(name)]
