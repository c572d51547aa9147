"""The client library for hosts, with asyncio or without. See docs/client.md."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from phoenix_ga.client.commands import Files, Filesystems
    from phoenix_ga.client.directory_entries import DirectoryEntries
    from phoenix_ga.client.errors import (
        CommandError,
        CompletedProcess,
        ConnectError,
        ConnectionLostError,
        EndpointError,
        FreezeNotHeldError,
        GuestTimeoutError,
        PhoenixError,
        ProcessFailedError,
        ProcessTimeoutError,
        ProtocolError,
        SnapshotError,
        StreamError,
        TransferDamagedError,
        TransferIncompleteError,
    )
    from phoenix_ga.client.file_streams import DirectoryStream, FileStream
    from phoenix_ga.client.files import GuestFile
    from phoenix_ga.client.frozen import FreezeProgress, Frozen, freeze_group
    from phoenix_ga.client.generated.sync import (
        SyncDirectoryEntries,
        SyncDirectoryStream,
        SyncFile,
        SyncFileStream,
        SyncFrozen,
        SyncGuest,
        SyncListener,
        SyncProcess,
        SyncStream,
        connect_sync,
    )
    from phoenix_ga.client.guest import (
        CALL_TIMEOUT,
        CONNECT_TIMEOUT,
        ExecOptions,
        Guest,
        connect,
        copy_between,
        copy_tree_between,
    )
    from phoenix_ga.client.inventory import KnownGuest
    from phoenix_ga.client.keepalive import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT
    from phoenix_ga.client.mock import HANG_UP, SILENCE, MockTransport
    from phoenix_ga.client.models import (
        Counters,
        Disk,
        FilePiece,
        FileStatus,
        FilesystemUsage,
        Freeze,
        FreezePlan,
        FreezeStatus,
        Kernel,
        LoadAverage,
        LoggedInUser,
        Memory,
        Metrics,
        NetworkInterface,
        PlannedFilesystem,
        ProcessInformation,
        ProcessList,
        Route,
        SkippedFilesystem,
        Swap,
        SystemInformation,
        SystemProcess,
    )
    from phoenix_ga.client.process import GuestProcess, Processes
    from phoenix_ga.client.sockets import Accepted, GuestListener, StreamPair
    from phoenix_ga.client.streams import GuestStream
    from phoenix_ga.client.transfer import Progress, Transferred
    from phoenix_ga.client.transport import Transport
    from phoenix_ga.client.trees import TransferredTree

__all__ = [
    "CALL_TIMEOUT",
    "CONNECT_TIMEOUT",
    "HANG_UP",
    "KEEPALIVE_INTERVAL",
    "KEEPALIVE_TIMEOUT",
    "SILENCE",
    "Accepted",
    "CommandError",
    "CompletedProcess",
    "ConnectError",
    "ConnectionLostError",
    "Counters",
    "DirectoryEntries",
    "DirectoryStream",
    "Disk",
    "EndpointError",
    "ExecOptions",
    "FilePiece",
    "FileStatus",
    "FileStream",
    "Files",
    "FilesystemUsage",
    "Filesystems",
    "Freeze",
    "FreezeNotHeldError",
    "FreezePlan",
    "FreezeProgress",
    "FreezeStatus",
    "Frozen",
    "Guest",
    "GuestFile",
    "GuestListener",
    "GuestProcess",
    "GuestStream",
    "GuestTimeoutError",
    "Kernel",
    "KnownGuest",
    "LoadAverage",
    "LoggedInUser",
    "Memory",
    "Metrics",
    "MockTransport",
    "NetworkInterface",
    "PhoenixError",
    "PlannedFilesystem",
    "ProcessFailedError",
    "ProcessInformation",
    "ProcessList",
    "ProcessTimeoutError",
    "Processes",
    "Progress",
    "ProtocolError",
    "Route",
    "SkippedFilesystem",
    "SnapshotError",
    "StreamError",
    "StreamPair",
    "Swap",
    "SyncDirectoryEntries",
    "SyncDirectoryStream",
    "SyncFile",
    "SyncFileStream",
    "SyncFrozen",
    "SyncGuest",
    "SyncListener",
    "SyncProcess",
    "SyncStream",
    "SystemInformation",
    "SystemProcess",
    "TransferDamagedError",
    "TransferIncompleteError",
    "Transferred",
    "TransferredTree",
    "Transport",
    "connect",
    "connect_sync",
    "copy_between",
    "copy_tree_between",
    "freeze_group",
]

# Where the names are: they are imported on first use, because a program needs few of them.
_HOMES: Final = {
    "commands": (
        "Files",
        "Filesystems",
    ),
    "directory_entries": ("DirectoryEntries",),
    "errors": (
        "CommandError",
        "CompletedProcess",
        "ConnectError",
        "ConnectionLostError",
        "EndpointError",
        "FreezeNotHeldError",
        "GuestTimeoutError",
        "PhoenixError",
        "ProcessFailedError",
        "ProcessTimeoutError",
        "ProtocolError",
        "SnapshotError",
        "StreamError",
        "TransferDamagedError",
        "TransferIncompleteError",
    ),
    "file_streams": (
        "DirectoryStream",
        "FileStream",
    ),
    "files": ("GuestFile",),
    "frozen": (
        "FreezeProgress",
        "Frozen",
        "freeze_group",
    ),
    "guest": (
        "CALL_TIMEOUT",
        "CONNECT_TIMEOUT",
        "ExecOptions",
        "Guest",
        "connect",
        "copy_between",
        "copy_tree_between",
    ),
    "inventory": ("KnownGuest",),
    "keepalive": (
        "KEEPALIVE_INTERVAL",
        "KEEPALIVE_TIMEOUT",
    ),
    "mock": (
        "HANG_UP",
        "SILENCE",
        "MockTransport",
    ),
    "models": (
        "Counters",
        "Disk",
        "FilePiece",
        "FilesystemUsage",
        "FileStatus",
        "Freeze",
        "FreezePlan",
        "FreezeStatus",
        "Kernel",
        "LoadAverage",
        "LoggedInUser",
        "Memory",
        "Metrics",
        "NetworkInterface",
        "PlannedFilesystem",
        "ProcessInformation",
        "ProcessList",
        "Route",
        "SkippedFilesystem",
        "Swap",
        "SystemInformation",
        "SystemProcess",
    ),
    "process": (
        "GuestProcess",
        "Processes",
    ),
    "sockets": (
        "Accepted",
        "GuestListener",
        "StreamPair",
    ),
    "streams": ("GuestStream",),
    "transfer": (
        "Progress",
        "Transferred",
    ),
    "transport": ("Transport",),
    "trees": ("TransferredTree",),
    "generated.sync": (
        "SyncDirectoryEntries",
        "SyncDirectoryStream",
        "SyncFile",
        "SyncFileStream",
        "SyncFrozen",
        "SyncGuest",
        "SyncListener",
        "SyncProcess",
        "SyncStream",
        "connect_sync",
    ),
}


def __getattr__(name: str) -> Any:
    """Import a name on first use."""
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
