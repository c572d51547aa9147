"""Asking guests who they are: all at once, each for a while at the most, and believing none of them.

What is asked is the dialect of the QEMU Guest Agent, which ours speaks as well, and then `ping` and
`sysinfo`, which only ours knows.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.discovery import KnownGuest
from phoenix_ga.client.discovery.host_sockets import held_paths
from phoenix_ga.client.endpoints import EndpointError, open_endpoint, split_endpoint
from phoenix_ga.client.errors import ConnectFailed
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.units import RESET_BYTE, Line, Parser

#: It is an agent, and says so.
ANSWERS: Final = "answers"
#: Somebody takes what is sent, and says nothing.
SILENT: Final = "silent"
#: Another client has the port, which serves one at a time.
BUSY: Final = "busy"
#: There is no socket, or nobody listens there: the guest is not running.
GONE: Final = "gone"
#: Whoever answers is no agent, or ends the connection.
STRANGE: Final = "strange"

PHOENIX: Final = "phoenix"
QEMU_GA: Final = "qemu-ga"

#: In seconds.
PATIENCE: Final = 3.0
_AT_ONCE: Final = 64
_LINE_MAX: Final = 64 * 1024
# What an earlier client left may come first, but not for ever.
_RECEIVED_MAX: Final = 8 * 1024 * 1024
_TEXT_MAX: Final = 200
_ASKED: Final = (
    b'{"execute": "guest-info"}\n'
    b'{"execute": "guest-get-osinfo"}\n'
    b'{"execute": "ping", "tag": "probe-ping"}\n'
    b'{"execute": "sysinfo", "tag": "probe-sysinfo"}\n'
    b'{"execute": "guest-sync", "arguments": {"id": %d}}\n'
)


@dataclass(frozen=True)
class GuestState:
    """What a guest said of itself.

    state: one of ANSWERS, SILENT, BUSY, GONE and STRANGE. detail: why it does not answer. dialect: PHOENIX,
    QEMU_GA or empty. version: of the agent. system: the operating system. uptime: in seconds, or None.
    """

    guest: KnownGuest
    state: str
    detail: str = ""
    dialect: str = ""
    version: str = ""
    system: str = ""
    uptime: int | None = None


async def probe_guests(
    guests: Iterable[KnownGuest], timeout: float = PATIENCE, at_once: int = _AT_ONCE
) -> AsyncIterator[GuestState]:
    """Yield the state of each guest as it is known, `at_once` being asked at a time, each for `timeout` seconds."""
    # Looked up before anybody is asked, for then the client that has a port is we.
    held = await asyncio.get_running_loop().run_in_executor(None, held_paths)
    slots = asyncio.Semaphore(at_once)

    async def ask(guest: KnownGuest) -> GuestState:
        async with slots:
            return await probe(guest, timeout, held)

    tasks = [asyncio.ensure_future(ask(guest)) for guest in guests]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def probe(guest: KnownGuest, timeout: float = PATIENCE, held: frozenset[str] = frozenset()) -> GuestState:
    """Return the state of a guest, which is asked for `timeout` seconds. held: the sockets that others have."""
    try:
        async with timeouts.timeout(timeout):
            return await _ask(guest)
    except asyncio.TimeoutError:
        if _is_held(guest, held):
            return GuestState(guest, BUSY, "another client has this port; end that one")
        return GuestState(guest, SILENT, f"no answer in {timeout:g} seconds")
    except ConnectFailed as error:
        return GuestState(guest, BUSY if "too many clients" in str(error) else GONE, str(error))
    except EndpointError as error:
        return GuestState(guest, GONE, str(error))
    except (OSError, _StrangeError) as error:
        return GuestState(guest, STRANGE, str(error) or type(error).__name__)


class _StrangeError(Exception):
    """What came is not what an agent says."""


async def _ask(guest: KnownGuest) -> GuestState:
    transport = await open_endpoint(guest)
    try:
        answers = _Answers(transport)
        number = secrets.randbits(31)
        await transport.write(RESET_BYTE + b'{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number)
        # Up to here, all may be due to an earlier client.
        await answers.skip_to_mark()
        while (await answers.next()).get("return") != number:
            pass
        number = secrets.randbits(31)
        await transport.write(_ASKED % number)
        said: list[Mapping[str, Any]] = []
        while not said or said[-1].get("return") != number:
            said.append(await answers.next())
            if len(said) > 2 * _ASKED.count(b"\n"):
                raise _StrangeError("it answers more than it was asked")
        # Those with a tag may come later than the rest.
        while _is_phoenix(said) and len(said) < _ASKED.count(b"\n"):
            said.append(await answers.next())
        return _read(guest, said)
    finally:
        await transport.close()


class _Answers:
    """The objects that come from a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._parser = Parser(_LINE_MAX, lines_only=True)
        self._received = 0

    async def skip_to_mark(self) -> None:
        """Drop all up to the byte that comes before the answer to `guest-sync-delimited`. Raises _StrangeError."""
        while True:
            data = await self._receive()
            mark = data.find(RESET_BYTE)
            if mark >= 0:
                self._parser.reset()
                self._parser.receive(data[mark + 1 :])
                return

    async def next(self) -> Mapping[str, Any]:
        """Return the next object; what is none is skipped. Raises _StrangeError where too much of it comes."""
        while True:
            unit = self._parser.next_unit()
            if unit is None:
                self._parser.receive(await self._receive())
            elif isinstance(unit, Line):
                try:
                    value = decode_json(unit.data)
                except JsonError:
                    continue
                if isinstance(value, dict):
                    return value

    async def _receive(self) -> bytes:
        data = await self._transport.read()
        if not data:
            raise _StrangeError("it ended the connection")
        self._received += len(data)
        if self._received > _RECEIVED_MAX:
            raise _StrangeError("it says much that nobody asked for")
        return data


def _is_phoenix(said: list[Mapping[str, Any]]) -> bool:
    return any(_text(answer, "tag").startswith("probe-") for answer in said)


def _read(guest: KnownGuest, said: list[Mapping[str, Any]]) -> GuestState:
    by_tag = {_text(answer, "tag"): answer.get("return") for answer in said}
    returned = [answer["return"] for answer in said if isinstance(answer.get("return"), dict) and "tag" not in answer]
    information: Mapping[str, Any] = next((each for each in returned if "supported_commands" in each), {})
    system: Mapping[str, Any] = next((each for each in returned if "kernel-release" in each), {})
    described = _text(system, "pretty-name") or _text(system, "name")
    ours = by_tag.get("probe-sysinfo")
    details: Mapping[str, Any] = ours if isinstance(ours, dict) else {}
    uptime = details.get("uptime")
    if not described:
        kernel = details.get("uname")
        described = f"{_text(kernel, 'sysname')} {_text(kernel, 'release')}".strip()
    version = by_tag.get("probe-ping")
    return GuestState(
        guest,
        ANSWERS,
        "",
        PHOENIX if _is_phoenix(said) else QEMU_GA,
        version[:_TEXT_MAX] if isinstance(version, str) else _text(information, "version"),
        described,
        uptime if type(uptime) is int and 0 <= uptime < 2**63 else None,
    )


def _text(value: Any, name: str) -> str:
    text = value.get(name) if isinstance(value, dict) else None
    return text[:_TEXT_MAX] if isinstance(text, str) else ""


def _is_held(guest: KnownGuest, held: frozenset[str]) -> bool:
    kind, address = split_endpoint(guest.endpoint)
    return kind == "unix" and bool({address, os.path.realpath(address)} & held)
