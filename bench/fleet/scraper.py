"""Scraping as Prometheus does: each target at its own moment of the interval, over connections that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

_HEAD_MAX = 64 * 1024


@dataclass(frozen=True)
class Scrape:
    """One probe.

    Attributes:
        target: The name of the guest.
        status: Of HTTP; 0 if there was no answer.
        seconds: From the moment at which it was due until all of the answer was there. So if the scraper itself is
            late, this counts.
        late: How much later than due it began, in seconds.
        size: Of the page, in bytes.
    """

    target: str
    status: int
    seconds: float
    late: float
    size: int


class Scraper:
    """Scrapes an exporter.

    Args:
        port: Of the exporter, on 127.0.0.1.
        interval: Time between the scrapes of a target, in seconds.
        timeout: Of a scrape, in seconds, of which the exporter is told.
    """

    def __init__(self, port: int, interval: float, timeout: float) -> None:
        self._port = port
        self._interval = interval
        self._timeout = timeout
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, targets: Sequence[str], rounds: int) -> list[Scrape]:
        """Scrape each target so many times, and return all scrapes in the order in which they were due."""
        loop = asyncio.get_running_loop()
        begin = loop.time() + 0.1
        tasks = []
        for number in range(rounds * len(targets)):
            due = begin + number * self._interval / len(targets)
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.append(asyncio.ensure_future(self._scrape(targets[number % len(targets)], due)))
        scrapes = await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        return scrapes

    async def _scrape(self, target: str, due: float) -> Scrape:
        loop = asyncio.get_running_loop()
        late = loop.time() - due
        try:
            status, size = await asyncio.wait_for(self._get(f"/probe?target={quote(target)}"), self._timeout)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            status, size = 0, 0
        return Scrape(target, status, loop.time() - due, late, size)

    async def _get(self, path: str) -> tuple[int, int]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_HEAD_MAX)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"X-Prometheus-Scrape-Timeout-Seconds: {self._timeout:g}\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].split()[0])
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return int(head.split()[1]), length
