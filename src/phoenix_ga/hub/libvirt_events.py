"""Events of libvirt: which domains start and end. It tells them also to users who may not read its directories."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.errors import ConnectError
from phoenix_ga.client.libvirt_channel import in_thread, libvirt_library

URI: Final = "qemu:///system"
#: It exists if libvirt is there. The daemon is not started otherwise.
SOCKET: Final = Path("/run/libvirt/libvirt-sock-ro")
# Seconds until the next attempt to connect, doubled each time.
_RETRY_FIRST: Final = 1.0
_RETRY_MAX: Final = 600.0


class LibvirtEvents:
    """A read-only connection to libvirt, if libvirt-python (LGPL) is there: it is optional.

    Args:
        changed: is called after each event, and when there is a connection.
    """

    def __init__(self, changed: Callable[[], None], uri: str = URI, socket: Path = SOCKET) -> None:
        self._changed = changed
        self._uri = uri
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = _RETRY_FIRST

    def connect(self) -> None:
        """Connect, unless there is a connection or an attempt already, or libvirt is not there."""
        if self._connecting is None and self._timer is None and os.path.exists(self._socket):
            self._connecting = self._loop.create_task(self._connect())

    def close(self) -> None:
        """Connect no more; the connection ends with the process, because libvirt may take its time to close it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()

    async def _connect(self) -> None:
        try:
            library = libvirt_library()
        except ConnectError:
            return
        try:
            await in_thread(lambda: self._open(library))
        except library.libvirtError:
            self._connecting = None
            self._wait()
        else:
            self._pause = _RETRY_FIRST
            # What happened before.
            self._changed()

    def _open(self, library: Any) -> None:
        connection = library.openReadOnly(self._uri)
        connection.registerCloseCallback(lambda *_: self._tell(self._lost), None)
        connection.domainEventRegisterAny(
            None, library.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *_: self._tell(self._changed), None
        )

    def _lost(self) -> None:
        self._connecting = None
        self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._pause, self._try_again)
        self._pause = min(2 * self._pause, _RETRY_MAX)

    def _try_again(self) -> None:
        self._timer = None
        self.connect()

    def _tell(self, news: Callable[[], None]) -> None:
        """Call a function of the event loop's thread from libvirt's."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(news)
