"""Arguments and errors that commands of several domains share."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PERMISSIONS_MAX: Final = 0o7777
ID_MAX: Final = 2**32 - 2
# The credit that a receiver grants by default, and the most that it may grant in a request, in bytes.
WINDOW_DEFAULT: Final = 1024 * 1024
WINDOW_MAX: Final = 16 * 1024 * 1024

EXAMPLE_FILE: Final = "/tmp/phoenix/hello.txt"

PATH_HELP: Final = "Absolute path in the guest."
PATH: Final = Argument("path", str, PATH_HELP)
WINDOW: Final = Argument(
    "window",
    int,
    "Number of bytes that the agent may send on each stream before the client grants more.",
    default=WINDOW_DEFAULT,
    maximum=WINDOW_MAX,
)

NO_FILE: Final = ("ENOENT", "the path does not exist")
TOO_MANY_STREAMS: Final = ("EAGAIN", "too many streams are open")
