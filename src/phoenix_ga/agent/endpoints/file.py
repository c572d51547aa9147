"""Files as the ends of streams. Disks are read and written on workers, a large piece at a time."""

from __future__ import annotations

import os
from errno import EBADMSG, EINVAL
from stat import S_ISREG

from phoenix_ga.agent.linux.digest import new_digest
from phoenix_ga.agent.streams import Endpoint
from phoenix_ga.wire.streams import Data, Skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.loop import Loop
    from phoenix_ga.agent.operations.replacement import Replacement
    from phoenix_ga.agent.streams import OpenStream, Piece
    from phoenix_ga.agent.workers import Workers
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

_PIECE_SIZE: Final = 512 * 1024
# One piece is being sent while the next one is read.
_PIECES: Final = 2
_WINDOW: Final = 1024 * 1024


class _FileEndpoint(Endpoint):
    """What both directions share: one job at a time on a worker, which alone uses the file."""

    def __init__(self) -> None:
        self._stream: OpenStream | None = None
        self._working = False
        self._over = False

    def start(self, stream: OpenStream) -> None:
        self._stream = stream

    def closed(self, loop: Loop, workers: Workers) -> None:
        self._over = True
        if not self._working:
            self._let_go_on(workers)

    def _work(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `job` on a worker, then `done` with its result on the loop. Errors end the stream."""
        assert self._stream is not None
        stream = self._stream

        def run() -> None:
            try:
                result = job()
            except Exception as error:
                stream.loop.call_from_thread(finished, None, error)
            else:
                stream.loop.call_from_thread(finished, result, None)

        def finished(result: Any, error: Exception | None) -> None:
            self._working = False
            if self._over:
                self._let_go_on(stream.workers)
            elif error is not None:
                self._fail(error)
            else:
                done(result)

        self._working = True
        try:
            stream.workers.submit(run)
        except OSError as error:
            self._working = False
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        assert self._stream is not None
        if isinstance(error, OSError):
            self._stream.fail(error.strerror or str(error), error.errno or EINVAL)
        else:
            self._stream.fail(f"{type(error).__name__}: {error}", EINVAL)

    def _let_go_on(self, workers: Workers) -> None:
        try:
            workers.submit(self._let_go)
        except OSError:
            # No thread is left for it: what takes long here takes longer elsewhere.
            self._let_go()

    def _let_go(self) -> None:
        """Close what is open, on a worker. Must not raise."""
        raise NotImplementedError


class FileSource(_FileEndpoint):
    """Sends a file, from `offset` on, at most `length` bytes of it; then size and digest.

    fd: open for reading; closed at the end. sparse: leave out holes.
    """

    def __init__(self, fd: int, offset: int, length: int, digest: bool, sparse: bool) -> None:
        super().__init__()
        self._fd = fd
        self._offset = offset
        self._end = offset + length
        self._start = offset
        self._digest = new_digest("sha256") if digest else None
        self._sparse = sparse and S_ISREG(os.fstat(fd).st_mode)
        self._skipped = False
        self._pieces: deque[Piece] = deque()
        self._at_end = False

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        self._read_on()

    def pull(self, size: int) -> Piece:
        assert self._stream is not None
        if not self._pieces:
            if self._at_end:
                message: dict[str, Any] = {"size": self._offset - self._start}
                if self._digest is not None:
                    message["sha256"] = self._digest.hexdigest()
                self._stream.finish(message)
            return b""
        piece = self._pieces[0]
        if isinstance(piece, Skip) or len(piece) <= size:
            self._pieces.popleft()
            self._read_on()
            return piece
        self._pieces[0] = piece[size:]
        return piece[:size]

    def _read_on(self) -> None:
        if not (self._working or self._at_end) and len(self._pieces) < _PIECES:
            self._work(self._read, self._was_read)

    def _read(self) -> Piece:
        # Never two in a row, which a file that changes meanwhile could have.
        skip = self._next_hole() if self._sparse and not self._skipped else 0
        self._skipped = bool(skip)
        piece: Piece
        if skip:
            piece = Skip(skip)
            self._offset += skip
        else:
            piece = memoryview(os.pread(self._fd, min(_PIECE_SIZE, self._end - self._offset), self._offset))
            self._offset += len(piece)
        if self._digest is not None:
            self._digest.update(piece.payload if isinstance(piece, Skip) else piece)
        return piece

    def _next_hole(self) -> int:
        """Return the length of the hole at the offset, or 0."""
        try:
            data = os.lseek(self._fd, self._offset, os.SEEK_DATA)
        except OSError:
            # ENXIO: nothing but a hole up to the end.
            data = os.fstat(self._fd).st_size
        return max(0, min(data, self._end) - self._offset)

    def _was_read(self, piece: Piece) -> None:
        assert self._stream is not None
        if isinstance(piece, Skip) or piece:
            self._pieces.append(piece)
            self._at_end = self._offset >= self._end
            self._read_on()
        else:
            self._at_end = True
        self._stream.ready()

    def _let_go(self) -> None:
        os.close(self._fd)


class FileSink(_FileEndpoint):
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
        if self._working or self._finishing:
            return
        if self._pending:
            pieces, self._pending = self._pending, []
            self._work(lambda: self._write(pieces), self._was_written)
        elif self._message is not None:
            self._finishing = True
            self._work(self._finish, self._was_finished)

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
        assert self._stream is not None
        self._stream.consumed(size)
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
        assert self._stream is not None
        self._stream.finish(message)

    def _let_go(self) -> None:
        self._replacement.abandon()
