"""The hub: the servers of all guests that were found, and the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

from phoenix_ga.client.discovery import known_guests, known_sources
from phoenix_ga.client.errors import EndpointError
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.hub.audit import Observer, Record
from phoenix_ga.hub.changes import Changes
from phoenix_ga.hub.config import Config, ConfigError, read_config
from phoenix_ga.hub.control import ControlConnection
from phoenix_ga.hub.libvirt_events import LibvirtEvents
from phoenix_ga.hub.quotas import Quotas
from phoenix_ga.hub.rules import GROUP
from phoenix_ga.hub.server import GuestServer, Listener, remove_stale
from phoenix_ga.hub.users import User

# Several changes of the host in a row are looked at together.
_SETTLE_TIME: Final = 0.5


class Hub:
    """The daemon.

    Args:
        path: of the configuration.
        directory: where its sockets are; None: the default.

    Attributes:
        config: the configuration of now.
        servers: by the name of the guest.
        watchers: the connections of clients that watch for events.
        quotas: what each user takes of the hub.

    Raises:
        ConfigError: the configuration is invalid.
    """

    def __init__(self, path: Path, directory: Path | None = None) -> None:
        self._path = path
        self._directory = directory
        self.config: Config = read_config(path, directory)
        self.servers: dict[str, GuestServer] = {}
        self.watchers: set[ControlConnection] = set()
        self.quotas = Quotas()
        self._record = Record(self.config.audit)
        self._guests = self.config.directory / "guests"
        self._stopping = asyncio.Event()
        self._looking = asyncio.Lock()

    async def run(self, activated: int | None = None) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

        Args:
            activated: descriptor of the control socket if a service manager listens on it.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: _keep(loop.create_task(self._reload_or_complain())))
        self._guests.mkdir(parents=True, exist_ok=True)
        os.chmod(self.config.directory, 0o755)
        os.chmod(self._guests, 0o755)
        changes = Changes()
        libvirt = LibvirtEvents(changes.note)
        control = None
        try:
            await self._look()
            for path in set(self._guests.glob("*.sock")) - {server.path for server in self.servers.values()}:
                remove_stale(path)
            control = await self._open_control(activated)
            following = loop.create_task(self._follow(changes, libvirt))
            await self._stopping.wait()
            following.cancel()
        finally:
            changes.close()
            libvirt.close()
            if control is not None:
                control.close()
            await asyncio.gather(*(server.stop() for server in self.servers.values()))
            self._record.close()

    async def _open_control(self, activated: int | None) -> asyncio.AbstractServer | Listener:
        if activated is None:
            return await Listener.open(self.config.directory / "hub.sock", lambda: ControlConnection(self))
        listener = socket.socket(fileno=activated)
        return await asyncio.get_running_loop().create_unix_server(lambda: ControlConnection(self), sock=listener)

    async def reload(self) -> None:
        """Read the configuration and look for guests again. Raises ConfigError, and keeps the old one then."""
        config = read_config(self._path, self._directory)
        if config.audit != self.config.audit:
            try:
                record = Record(config.audit)
            except OSError as error:
                raise ConfigError(f"{self._path}: audit: {error}") from None
            self._record.close()
            self._record = record
        self.config = config
        for server in self.servers.values():
            server.apply(config.rules, config.linger, self._record)
        await self._look()

    def describe(self, user: User) -> list[dict[str, Any]]:
        """Return the guests that a user may use, with their clients."""
        return [
            _describe(server, self.is_owner(user))
            for name, server in sorted(self.servers.items())
            if self.config.rules.knows(user, name)
        ]

    def is_owner(self, user: User) -> bool:
        """Return whether a user may control the hub."""
        return user.uid in (0, os.geteuid()) or GROUP in user.groups

    async def _reload_or_complain(self) -> None:
        try:
            await self.reload()
        except ValueError as error:
            print(f"phoenix-hub: {error}; the old configuration stays", file=sys.stderr)

    async def _follow(self, changes: Changes, libvirt: LibvirtEvents) -> None:
        while True:
            with contextlib.suppress(EndpointError):
                if "libvirt" in known_sources():
                    libvirt.connect()
            await changes.wait()
            await asyncio.sleep(_SETTLE_TIME)
            await self._look()

    async def _look(self) -> None:
        """Look for guests; offer those that came, and stop offering those that went."""
        async with self._looking:
            await self._look_alone()

    async def _look_alone(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = {guest.name: guest for guest in await loop.run_in_executor(None, known_guests)}
        except EndpointError as error:
            print(f"phoenix-hub: {error}", file=sys.stderr)
            return
        for name, server in list(self.servers.items()):
            if found.get(name) != server.guest:
                del self.servers[name]
                await server.stop()
                self._tell("guest-went", guest=name)
        for name, guest in found.items():
            if name not in self.servers:
                await self._offer(guest)

    async def _offer(self, guest: KnownGuest) -> None:
        observer = Observer(guest.name, self.config.rules, self._record)
        tell = partial(self._tell, guest=guest.name)
        server = GuestServer(guest, observer, self.quotas, self._guests, self.config.linger, tell)
        try:
            await server.start()
        except OSError as error:
            print(f"phoenix-hub: guest {guest.name}: {error}", file=sys.stderr)
            return
        self.servers[guest.name] = server
        self._tell("guest-came", guest=guest.name)

    def _tell(self, event: str, guest: str, **data: Any) -> None:
        for watcher in list(self.watchers):
            watcher.send_event(event, guest, **data)


def _describe(server: GuestServer, with_clients: bool) -> dict[str, Any]:
    link = server.link
    connections = sorted(server.connections, key=lambda each: each.since) if with_clients else []
    return {
        "name": server.guest.name,
        "endpoint": server.guest.endpoint,
        "source": server.guest.source,
        "socket": str(server.path),
        "state": link.state,
        "error": link.error,
        "received": link.received,
        "sent": link.sent,
        "refused": server.observer.refused,
        "client_count": len(server.connections),
        "stream_count": sum(connection.stream_count for connection in server.connections),
        "clients": [connection.describe() for connection in connections],
    }


_tasks: Final[set[asyncio.Task[None]]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """Hold a task until it ends."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
