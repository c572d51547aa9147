"""The base class of endpoints."""

from __future__ import annotations

from phoenix_ga.agent.core.channel import WRITE_PIECE
from phoenix_ga.wire.frames import HEADER_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Union

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.protocol.streams import OpenStream
    from phoenix_ga.wire.streams import Data, Skip

    Piece = Union[bytes, memoryview, Skip]

# Payload of a full frame, in bytes. A larger frame delays answers, a smaller one has the same overhead. With its
# header, it fills the pieces that the kernel takes.
FRAME_SIZE: Final = 4 * WRITE_PIECE - HEADER_SIZE


class Endpoint:
    """The guest's end of a stream. All methods are called on the loop and never wait.

    Attributes:
        window: Number of bytes from the host that it has room for; 0 if it takes none.
        sends: Whether it sends bytes to the host.
        skips: Whether it accepts a Skip.
        headed: Whether the views that `pull` returns begin with HEADER_SIZE bytes of room for the frame's header.
            They stay valid, and are not read otherwise, until the next `pull`.
    """

    window = 0
    sends = True
    skips = False
    headed = False

    def shrink_window(self) -> None:
        """Make the window smaller if possible, because the client has many streams. Called before `start`."""

    def start(self, stream: OpenStream) -> None:
        """Begin, and report to `stream` from now on."""

    def pull(self, size: int) -> Piece:
        """Return at most `size` bytes to send (and the room for a header), or none and call `stream.ready` later."""
        return b""

    def received(self, piece: Data | Skip) -> None:
        """Take received bytes, and call `stream.consumed` when they no longer take memory."""

    def ended(self, message: dict[str, Any]) -> None:
        """The host sends no more."""

    def closed(self, loop: Loop, workers: Workers) -> None:
        """The stream is over, or the client has left: release everything. Called once, possibly without `start`."""
