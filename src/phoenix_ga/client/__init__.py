"""The host's side: talk to a guest, with asyncio or without. docs/client.md tells how."""

from phoenix_ga.client.endpoints import EndpointError
from phoenix_ga.client.errors import (
    ConnectFailed,
    GuestError,
    GuestRefused,
    GuestTimeout,
    LinkLost,
    ProtocolViolation,
    StreamBroken,
    TransferDamaged,
    TransferIncomplete,
)
from phoenix_ga.client.files import FileStream, GuestFile
from phoenix_ga.client.guest import CALL_TIMEOUT, CONNECT_TIMEOUT, Guest, connect, copy_between, copy_tree_between
from phoenix_ga.client.inventory import KnownGuest
from phoenix_ga.client.mock import HANG_UP, SILENCE, MockTransport
from phoenix_ga.client.models import (
    Disk,
    FilePiece,
    FileStatus,
    FreezeDetails,
    Kernel,
    LoadAverage,
    LoggedInUser,
    Memory,
    NetworkInterface,
    Route,
    Swap,
    SystemInformation,
)
from phoenix_ga.client.process import CompletedProcess, GuestProcess, ProcessFailed, ProcessInformation
from phoenix_ga.client.sockets import Accepted, GuestListener, StreamPair
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.sync_guest import (
    SyncDirectoryStream,
    SyncFile,
    SyncGuest,
    SyncListener,
    SyncProcess,
    SyncStream,
    connect_sync,
)
from phoenix_ga.client.transfer import Progress, Transferred
from phoenix_ga.client.transport import Transport
from phoenix_ga.client.trees import DirectoryStream, TransferredTree

__all__ = [
    "CALL_TIMEOUT",
    "CONNECT_TIMEOUT",
    "HANG_UP",
    "SILENCE",
    "Accepted",
    "CompletedProcess",
    "ConnectFailed",
    "DirectoryStream",
    "Disk",
    "EndpointError",
    "FilePiece",
    "FileStatus",
    "FileStream",
    "FreezeDetails",
    "Guest",
    "GuestError",
    "GuestFile",
    "GuestListener",
    "GuestProcess",
    "GuestRefused",
    "GuestStream",
    "GuestTimeout",
    "Kernel",
    "KnownGuest",
    "LinkLost",
    "LoadAverage",
    "LoggedInUser",
    "Memory",
    "MockTransport",
    "NetworkInterface",
    "ProcessFailed",
    "ProcessInformation",
    "Progress",
    "ProtocolViolation",
    "Route",
    "StreamBroken",
    "StreamPair",
    "Swap",
    "SyncDirectoryStream",
    "SyncFile",
    "SyncGuest",
    "SyncListener",
    "SyncProcess",
    "SyncStream",
    "SystemInformation",
    "TransferDamaged",
    "TransferIncomplete",
    "Transferred",
    "TransferredTree",
    "Transport",
    "connect",
    "connect_sync",
    "copy_between",
    "copy_tree_between",
]
