"""The manager's end of systemd's private socket, by the D-Bus specification and org.freedesktop.systemd1(5)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.linux import systemd_bus
from phoenix_ga.agent.linux.systemd_bus import MANAGER_PATH, unit_path


class FakeSystemd:
    """As much of the manager as an agent needs.

    Attributes:
        state: Its SystemState.
        units: ActiveState of the units by name.
        aliases: Other names of units.
        asked: The requests so far.
        connections: The agent's, those for signals included.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state = "starting"
        self.units: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.asked: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.listen()

    def listen(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def stop_listening(self) -> None:
        """Close all connections, as systemd does when it executes itself again."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"BEGIN\r\n"):
            data += connection.recv(1)
        assert data == b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n"
        connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        with contextlib.suppress(OSError):
            while request := connection.recv(65536):
                length, _, fields = struct.unpack_from("<III", request, 4)
                assert len(request) == 16 + -(-fields // 8) * 8 + length
                self.asked.append(request)
                body = self._answer(request)
                # A signal may come before the answer.
                connection.sendall(signal("JobNew"))
                header = struct.pack("<BBBBIII", ord("l"), 2, 1, 1, len(body), 7, 8)
                connection.sendall(header + struct.pack("<BB2sI", 5, 1, b"u\0", 1) + body)

    def _answer(self, request: bytes) -> bytes:
        if b"ListUnitsFiltered" in request:
            listed = b""
            for name, state in self.units.items():
                if _text(state) in request:
                    listed += bytes(-len(listed) % 8)
                    for text in (name, "A unit", "loaded", state, "x", "", "/path", 7, "start", "/"):
                        listed += bytes(-len(listed) % 4)
                        listed += struct.pack("<I", text) if isinstance(text, int) else _text(text)
            return struct.pack("<II", len(listed), 0) + listed
        if b"SystemState" in request:
            found = self.state
        else:
            assert b"Id" in request
            names = {unit_path(name): name for name in (*self.units, *self.aliases)}
            found = next((name for path, name in names.items() if path + b"\0" in request), "")
            found = self.aliases.get(found, found) or systemd_bus.unit_of(request)
        return b"\x01s\0\0" + _text(found)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stop_listening()


def signal(member: str, path: bytes = MANAGER_PATH, body: bytes = b"") -> bytes:
    """Return a signal of an object."""
    fields = b""
    for code, kind, value in ((1, b"o", path), (3, b"s", member.encode("ascii"))):
        fields += bytes(-len(fields) % 8) + struct.pack("<BB2sI", code, 1, kind + b"\0", len(value)) + value + b"\0"
    header = struct.pack("<BBBBIII", ord("l"), 4, 1, 1, len(body), 9, len(fields)) + fields
    return header + bytes(-len(header) % 8) + body


def properties_changed(unit: str, **properties: str | int) -> bytes:
    """Return the signal that tells properties of a unit."""
    body = _text("org.freedesktop.systemd1.Unit") + bytes(-len(_text("org.freedesktop.systemd1.Unit")) % 4) + bytes(8)
    for name, value in properties.items():
        body += bytes(-len(body) % 8) + _text(name)
        body += b"\x01s\0" if isinstance(value, str) else b"\x01i\0"
        body += bytes(-len(body) % 4) + (_text(value) if isinstance(value, str) else struct.pack("<i", value))
    return signal("PropertiesChanged", unit_path(unit), body)


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("ascii") + b"\0"


@contextlib.contextmanager
def fake_systemd(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """Let the agent's code talk to such a systemd."""
    functions = (systemd_bus.canonical_name, systemd_bus.units_in_state, systemd_bus.system_state)
    for function in (*functions, systemd_bus.SystemdSignals.__init__):
        if function.__defaults__:
            monkeypatch.setattr(function, "__defaults__", (str(path),))
        else:
            monkeypatch.setattr(function, "__kwdefaults__", {"path": str(path)})
    systemd = FakeSystemd(path)
    try:
        yield systemd
    finally:
        systemd.close()
