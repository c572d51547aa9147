"""QEMU's monitor (QMP), through the library `qemu.qmp`."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from lab.errors import LabError

try:
    from qemu.qmp import ExecuteError, QMPClient, QMPError
except ImportError:
    raise LabError("the Python package qemu.qmp is missing: pip install qemu.qmp") from None

_ANSWER_SECONDS = 180.0
# Errors are raised as exceptions, or are expected: QEMU ends before its client.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Monitor:
    """A connection to a QMP socket, usable from several threads.

    The library needs an event loop, which runs in a thread of the monitor: the caller may have a loop of its own.
    """

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        try:
            self._client: QMPClient = self._wait(self._connect(path))
        except QMPError as error:
            self._stop()
            raise LabError(f"QEMU does not answer on its monitor: {error}") from None

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Execute `command` and return its result. Raises LabError with QEMU's message if it fails."""
        try:
            return self._wait(self._client.execute(command, dict(arguments or {})))
        except ExecuteError as error:
            raise LabError(f"QMP command {command}: {error}") from None
        except QMPError as error:
            raise LabError(f"QMP command {command}: no connection to QEMU ({error or 'it has ended'})") from error

    def close(self) -> None:
        """Close the connection, even if it is broken."""
        if self._thread.is_alive():
            try:
                self._wait(self._client.disconnect())
            except (QMPError, OSError, EOFError):
                pass
            finally:
                self._stop()

    @staticmethod
    async def _connect(path: Path) -> QMPClient:
        client = QMPClient("phoenix-lab")
        await client.connect(str(path))
        return client

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_other_tasks(), self._loop).result(_ANSWER_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_other_tasks() -> None:
    """Cancel the tasks that the library leaves behind if QEMU ends first."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
