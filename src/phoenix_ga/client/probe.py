"""Asking many guests for their state at once, without trusting any of them.

The requests are those of the QEMU Guest Agent, which our agent knows as well, and `ping` and `sysinfo`, which only
ours knows.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from errno import EAGAIN
from typing import Any, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.discovery import KnownGuest
from phoenix_ga.client.endpoints import split_endpoint
from phoenix_ga.client.errors import ConnectError, EndpointError
from phoenix_ga.client.host_sockets import held_paths, rivals
from phoenix_ga.client.resolve import open_endpoint
from phoenix_ga.client.transport import Transport
from phoenix_ga.wire.json_text import JsonError, decode_json
from phoenix_ga.wire.units import RESET_BYTE, Line, Parser

#: An agent answers.
ANSWERS: Final = "answers"
#: No answer.
SILENT: Final = "silent"
#: Another client uses the port, which serves one at a time.
BUSY: Final = "busy"
#: There is no socket, or no program listens on it: the guest is not running.
GONE: Final = "gone"
#: The answer is not that of an agent, or the connection was closed.
NOT_AN_AGENT: Final = "not-an-agent"

PHOENIX: Final = "phoenix"
QEMU_GA: Final = "qemu-ga"

#: Default time limit for each guest, in seconds.
TIMEOUT: Final = 3.0
_PARALLEL: Final = 64
_LINE_MAX: Final = 64 * 1024
# Data that an earlier client left may precede the answers.
_RECEIVED_MAX: Final = 8 * 1024 * 1024
_TEXT_MAX: Final = 200
_REQUESTS: Final = (
    b'{"execute": "guest-info"}\n'
    b'{"execute": "guest-get-osinfo"}\n'
    b'{"execute": "guest-fsfreeze-status"}\n'
    b'{"execute": "ping", "tag": "probe-ping"}\n'
    b'{"execute": "sysinfo", "tag": "probe-sysinfo"}\n'
    b'{"execute": "guest-sync", "arguments": {"id": %d}}\n'
)


@dataclass(frozen=True)
class GuestState:
    """The state of a guest.

    Attributes:
        state: ANSWERS, SILENT, BUSY, GONE or NOT_AN_AGENT.
        detail: why it does not answer.
        dialect: PHOENIX, QEMU_GA or empty.
        version: of the agent.
        system: the operating system.
        uptime: in seconds, or None.
        frozen: whether the agent has frozen filesystems; None if it does not say so.
        os_id: the operating system as os-release(5) identifies it, such as `debian`.
    """

    guest: KnownGuest
    state: str
    detail: str = ""
    dialect: str = ""
    version: str = ""
    system: str = ""
    uptime: int | None = None
    frozen: bool | None = None
    os_id: str = ""


async def probe_guests(
    guests: Iterable[KnownGuest], timeout: float = TIMEOUT, parallel: int = _PARALLEL
) -> AsyncIterator[GuestState]:
    """Yield the state of each guest as soon as it is known.

    Args:
        timeout: for each guest, in seconds.
        parallel: the maximum number of guests asked at the same time.
    """
    # Before connecting: afterwards, the client that uses a port is this program.
    held = await asyncio.get_running_loop().run_in_executor(None, held_paths)
    slots = asyncio.Semaphore(parallel)

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


async def probe(guest: KnownGuest, timeout: float = TIMEOUT, held: frozenset[str] = frozenset()) -> GuestState:
    """Return the state of a guest.

    Args:
        timeout: in seconds.
        held: the paths of sockets that other clients use.
    """
    try:
        async with timeouts.timeout(timeout):
            return await _ask(guest)
    except asyncio.TimeoutError:
        if path := _held_path(guest, held):
            who = await asyncio.get_running_loop().run_in_executor(None, rivals, path)
            return GuestState(guest, BUSY, f"{who or 'another client'} uses this port; stop it")
        return GuestState(guest, SILENT, f"no answer in {timeout:g} seconds")
    except ConnectError as error:
        return GuestState(guest, BUSY if error.errno == EAGAIN else GONE, str(error))
    except EndpointError as error:
        return GuestState(guest, GONE, str(error))
    except (OSError, _NotAnAgentError) as error:
        return GuestState(guest, NOT_AN_AGENT, str(error) or type(error).__name__)


class _NotAnAgentError(Exception):
    """The received data is not that of an agent."""


async def _ask(guest: KnownGuest) -> GuestState:
    transport = await open_endpoint(guest)
    try:
        answers = _Answers(transport)
        number = secrets.randbits(31)
        await transport.write(RESET_BYTE + b'{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number)
        # Everything before this answer may be for an earlier client.
        await answers.skip_to_mark()
        while (await answers.next()).get("return") != number:
            pass
        number = secrets.randbits(31)
        await transport.write(_REQUESTS % number)
        received: list[Mapping[str, Any]] = []
        while not received or received[-1].get("return") != number:
            received.append(await answers.next())
            if len(received) > 2 * _REQUESTS.count(b"\n"):
                raise _NotAnAgentError("more answers than requests")
        # Answers with a tag may arrive later.
        while _is_phoenix(received) and len(received) < _REQUESTS.count(b"\n"):
            received.append(await answers.next())
        return _read(guest, received)
    finally:
        await transport.close()


class _Answers:
    """The JSON objects received from a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._parser = Parser(_LINE_MAX, lines_only=True)
        self._received = 0

    async def skip_to_mark(self) -> None:
        """Drop everything up to the byte 0xFF before the answer to `guest-sync-delimited`."""
        while True:
            data = await self._receive()
            mark = data.find(RESET_BYTE)
            if mark >= 0:
                self._parser.reset()
                self._parser.receive(data[mark + 1 :])
                return

    async def next(self) -> Mapping[str, Any]:
        """Return the next object, skipping everything else. Raises _NotAnAgentError after too much data."""
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
            raise _NotAnAgentError("the connection was closed")
        self._received += len(data)
        if self._received > _RECEIVED_MAX:
            raise _NotAnAgentError("too much unexpected data")
        return data


def _is_phoenix(received: list[Mapping[str, Any]]) -> bool:
    return any(_text(answer, "tag").startswith("probe-") for answer in received)


def _read(guest: KnownGuest, received: list[Mapping[str, Any]]) -> GuestState:
    by_tag = {_text(answer, "tag"): answer.get("return") for answer in received}
    untagged = [answer.get("return") for answer in received if "tag" not in answer]
    returned = [value for value in untagged if isinstance(value, dict)]
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
        PHOENIX if _is_phoenix(received) else QEMU_GA,
        version[:_TEXT_MAX] if isinstance(version, str) else _text(information, "version"),
        described,
        uptime if type(uptime) is int and 0 <= uptime < 2**63 else None,
        next((value == "frozen" for value in untagged if value in ("frozen", "thawed")), None),
        _text(system, "id"),
    )


def _text(value: Any, name: str) -> str:
    text = value.get(name) if isinstance(value, dict) else None
    return text[:_TEXT_MAX] if isinstance(text, str) else ""


def _held_path(guest: KnownGuest, held: frozenset[str]) -> str:
    kind, address = split_endpoint(guest.endpoint)
    paths = {address, os.path.realpath(address)} & held if kind == "unix" else ()
    return next(iter(paths), "")
