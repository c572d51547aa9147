"""The host's side: talk to a guest, with asyncio or without. docs/client.md tells how."""

from phoenix_ga.client.endpoints import EndpointError
from phoenix_ga.client.errors import (
    ConnectFailed,
    GuestError,
    GuestRefused,
    GuestTimeout,
    LinkLost,
    ProtocolViolation,
    TransferDamaged,
)
from phoenix_ga.client.guest import CALL_TIMEOUT, CONNECT_TIMEOUT, Guest, connect
from phoenix_ga.client.mock import HANG_UP, SILENCE, MockTransport
from phoenix_ga.client.models import (
    Disk,
    FilePiece,
    FileStatus,
    Kernel,
    LoadAverage,
    LoggedInUser,
    Memory,
    NetworkInterface,
    Route,
    Swap,
    SystemInformation,
)
from phoenix_ga.client.sync_guest import SyncGuest, connect_sync
from phoenix_ga.client.transfer import Progress, Transferred
from phoenix_ga.client.transport import Transport

__all__ = [
    "CALL_TIMEOUT",
    "CONNECT_TIMEOUT",
    "HANG_UP",
    "SILENCE",
    "ConnectFailed",
    "Disk",
    "EndpointError",
    "FilePiece",
    "FileStatus",
    "Guest",
    "GuestError",
    "GuestRefused",
    "GuestTimeout",
    "Kernel",
    "LinkLost",
    "LoadAverage",
    "LoggedInUser",
    "Memory",
    "MockTransport",
    "NetworkInterface",
    "Progress",
    "ProtocolViolation",
    "Route",
    "Swap",
    "SyncGuest",
    "SystemInformation",
    "TransferDamaged",
    "Transferred",
    "Transport",
    "connect",
    "connect_sync",
]
