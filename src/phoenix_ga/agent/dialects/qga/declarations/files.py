"""Commands about files that are open."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import INTEGER, STRING, Choice, Either, GuestCommand, Parameter
from phoenix_ga.agent.operations.random_access import WRITE_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HANDLE: Final = Parameter("handle", INTEGER)
_WHENCE: Final = Either("GuestFileWhence", {int: INTEGER, float: INTEGER, str: Choice("set", "cur", "end")})

COMMANDS: Final = (
    GuestCommand(
        "guest-file-open",
        "files:guest_file_open",
        "Open a file as fopen(3) does, and return its handle, which outlives the client.",
        parameters=(Parameter("path", STRING), Parameter("mode", STRING, optional=True)),
        governed_by=("file-open",),
        changes=("mode", WRITE_MODES),
        full_access=True,
    ),
    GuestCommand(
        "guest-file-close",
        "files:guest_file_close",
        "Close a file.",
        parameters=(_HANDLE,),
        governed_by=("file-close",),
        handle="handle",
        full_access=True,
    ),
    GuestCommand(
        "guest-file-read",
        "files:guest_file_read",
        "Read at the current position, at most 48 MiB; return whether the end was reached.",
        parameters=(_HANDLE, Parameter("count", INTEGER, optional=True)),
        governed_by=("file-read",),
        nowait="guest_file_read_nowait",
        handle="handle",
        full_access=True,
    ),
    GuestCommand(
        "guest-file-write",
        "files:guest_file_write",
        "Write at the current position.",
        parameters=(_HANDLE, Parameter("buf-b64", STRING), Parameter("count", INTEGER, optional=True)),
        governed_by=("file-write",),
        handle="handle",
        full_access=True,
    ),
    GuestCommand(
        "guest-file-seek",
        "files:guest_file_seek",
        "Move the current position; return it.",
        parameters=(_HANDLE, Parameter("offset", INTEGER), Parameter("whence", _WHENCE)),
        governed_by=("file-open",),
        handle="handle",
        full_access=True,
    ),
    GuestCommand(
        "guest-file-flush",
        "files:guest_file_flush",
        "Do nothing: what was written is with the kernel already.",
        parameters=(_HANDLE,),
        governed_by=("file-write",),
        handle="handle",
        full_access=True,
    ),
)
