"""A file that is put: what comes is written on a worker, to a file that takes its place when it is whole."""

from __future__ import annotations

from errno import EBADMSG

from phoenix_ga.agent.endpoints.file import FileEndpoint
from phoenix_ga.agent.linux.digest import new_digest
from phoenix_ga.wire.streams import Data, Skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.replacement import Replacement

_WINDOW: Final = 1024 * 1024


class FileSink(FileEndpoint):
    """Writes what comes to a file that takes its place when all is there and its digest is right."""

    window = _WINDOW
    skips = True

    def __init__(self, replacement: Replacement, digest: bool) -> None:
        super().__init__()
        self._replacement = replacement
        self._digest = new_digest("sha256") if digest else None
        self._pending: list[Data | Skip] = []
        self._message: dict[str, Any] | None = None
        self._finishing = False

    def received(self, piece: Data | Skip) -> None:
        self._pending.append(piece)
        self._write_on()

    def ended(self, message: dict[str, Any]) -> None:
        self._message = message
        self._write_on()

    def _write_on(self) -> None:
        if self.working or self._finishing:
            return
        if self._pending:
            pieces, self._pending = self._pending, []
            self.work(lambda: self._write(pieces), self._was_written)
        elif self._message is not None:
            self._finishing = True
            self.work(self._finish, self._was_finished)

    def _write(self, pieces: list[Data | Skip]) -> int:
        size = 0
        for piece in pieces:
            if isinstance(piece, Skip):
                self._replacement.skip(piece.length)
            else:
                self._replacement.write(piece.payload)
                size += len(piece.payload)
            if self._digest is not None:
                self._digest.update(piece.payload)
        return size

    def _was_written(self, size: int) -> None:
        assert self.stream is not None
        self.stream.consumed(size)
        self._write_on()

    def _finish(self) -> dict[str, Any]:
        assert self._message is not None
        message: dict[str, Any] = {"size": self._replacement.size}
        if self._digest is not None:
            message["sha256"] = self._digest.hexdigest()
        for name, value in message.items():
            if self._message.get(name, value) != value:
                self._replacement.refuse()
                text = f"{name} is {value} here, {self._message[name]} was sent; the file stays as it was"
                raise OSError(EBADMSG, text)
        self._replacement.commit()
        return message

    def _was_finished(self, message: dict[str, Any]) -> None:
        assert self.stream is not None
        self.stream.finish(message)

    def let_go(self) -> None:
        self._replacement.abandon()
