"""The source of `file-get`: reads from the page cache on the loop, else ahead on a worker."""

from __future__ import annotations

import os
from errno import ESTALE
from stat import S_ISREG

from phoenix_ga.agent.core.nowait import nowait_flags
from phoenix_ga.agent.endpoints.endpoint import FRAME_SIZE
from phoenix_ga.agent.endpoints.file import FileEndpoint
from phoenix_ga.agent.linux.anonymous_mmap import map_memory
from phoenix_ga.agent.operations.digest import transfer_digest
from phoenix_ga.wire.frames import HEADER_SIZE
from phoenix_ga.wire.streams import Skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any, Final, Optional

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.throttle import Throttle
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.protocol.streams import OpenStream

    # The data (empty at the end of the file), with room for a header before it, and the buffer that holds it.
    Read = tuple[Piece, Optional[memoryview]]
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

_BUFFER_SIZE: Final = 2 * FRAME_SIZE
# One is sent while the others are filled.
_BUFFERS: Final = 3
# Bytes that the loop reads and hashes at a time: 0.2 ms of work for an emulated processor.
_DIGEST_PIECE_SIZE: Final = 16 * 1024


class FileSource(FileEndpoint):
    """Sends at most `length` bytes of a file from `offset` on, then size and digest.

    What is in the page cache is read on the loop, right before it is sent. At the first byte that is not, or if
    there is a slow digest to compute, a worker takes over and reads ahead. While requests are active, such digests
    are computed on the loop, in small pieces: starting and stopping workers would delay answers for longer.
    Buffers are reused, because a new one for each piece costs page faults.

    Args:
        fd: open for reading; closed at the end.
        digest: as the argument of `file-get`.
        sparse: send holes as Skip frames.
    """

    headed = True

    def __init__(
        self, fd: int, offset: int, length: int, digest: bool | str, sparse: bool, throttle: Throttle
    ) -> None:
        super().__init__()
        self._fd = fd
        self._offset = offset
        self._end = offset + length
        self._start = offset
        self._throttle = throttle
        self._digest = transfer_digest(digest, throttle)
        status = os.fstat(fd)
        # A file that takes as many blocks as its size has no hole. Looking for one costs a worker's turn.
        self._sparse = sparse and S_ISREG(status.st_mode) and status.st_blocks * 512 < status.st_size
        self._size = status.st_size
        # There is no hole before this position.
        self._data_end = offset if self._sparse else self._end
        self._skipped = False
        flags = nowait_flags(fd)
        self._flags = flags or 0
        # Whether everything so far was in memory.
        self._in_memory = flags is not None
        self._ready: deque[Read] = deque()
        self._free: deque[memoryview] = deque()
        self._buffers = 0
        # Holds the data that was pulled last.
        self._sent: memoryview | None = None
        self._at_end = False

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        stream.ready()

    def pull(self, size: int) -> Piece:
        if self._sent is not None:
            # The data has been sent by now, or this would not be called.
            self._free.append(self._sent)
            self._sent = None
        if not self._ready:
            return self._pull_at_once(size)
        piece, buffer = self._ready[0]
        if not isinstance(piece, Skip) and len(piece) > HEADER_SIZE + size:
            # The end of what is sent now is room for the next header: it is sent before that is written.
            self._ready[0] = piece[size:], buffer
            return piece[: HEADER_SIZE + size]
        self._ready.popleft()
        self._sent = buffer
        if not self._at_once:
            self._read_on()
        return piece

    def closed(self, loop: Loop, workers: Workers) -> None:
        self._ready.clear()
        self._free.clear()
        self._sent = None
        super().closed(loop, workers)

    def release(self) -> None:
        os.close(self._fd)

    def _pull_at_once(self, size: int) -> Piece:
        """Return data from the page cache; without any, finish, or let a worker read."""
        if self.working:
            return b""
        size = min(size, self._data_end - self._offset)
        if size > 0 and not self._at_end and self._at_once:
            if self._digest is not None and not self._digest.quick:
                size = min(size, _DIGEST_PIECE_SIZE)
            buffer = self._buffer()
            try:
                size = os.preadv(self._fd, [buffer[HEADER_SIZE : HEADER_SIZE + size]], self._offset, self._flags)
            except OSError:
                # EAGAIN or EOPNOTSUPP. If it is another error, the worker meets it again.
                self._in_memory = False
                self._free.append(buffer)
            else:
                self._sent = buffer
                self._offset += size
                self._at_end = not size or self._offset >= self._end
                if size:
                    self._skipped = False
                    if self._digest is not None:
                        self._digest.update_inline(buffer[HEADER_SIZE : HEADER_SIZE + size])
                    return buffer[: HEADER_SIZE + size]
        if not self._at_end:
            self._read_on()
        elif self._offset < min(self._size, self._end):
            # The file is shorter than it was, or of a filesystem such as sysfs, whose sizes are not true.
            self.work(self._check_size, self._finish)
        else:
            self._finish()
        return b""

    def _finish(self, _: None = None) -> None:
        assert self.stream is not None
        message: dict[str, Any] = {"size": self._offset - self._start}
        if self._digest is not None:
            message[self._digest.algorithm] = self._digest.hexdigest()
        self.stream.finish(message)

    @property
    def _at_once(self) -> bool:
        """Whether the loop reads, rather than a worker."""
        return self._in_memory and (self._digest is None or self._digest.quick or self._throttle.requests_active)

    @property
    def _has_room(self) -> bool:
        return bool(self._free) or self._buffers < _BUFFERS

    def _buffer(self) -> memoryview:
        """Return a free buffer. Requires `_has_room`."""
        if self._free:
            return self._free.popleft()
        self._buffers += 1
        return map_memory(HEADER_SIZE + _BUFFER_SIZE)

    def _read_on(self) -> None:
        if not (self.working or self._at_end) and self._has_room:
            self.work(self._read_ahead, self._was_read)

    def _was_read(self, read: Read) -> None:
        self._at_end = not read[0] or self._offset >= self._end
        self._keep(read)
        if not self._at_once:
            self._read_on()

    def _keep(self, read: Read) -> None:
        assert self.stream is not None
        if not self.over and read[0]:
            self._ready.append(read)
        self.stream.ready()

    # On a worker

    def _read_ahead(self) -> Read:
        """Read while there are free buffers; return what was read last."""
        assert self.stream is not None
        read = self._read()
        # If the rest is in the page cache, the loop goes on by itself.
        while read[0] and not self._at_once and self._has_room and self._offset < self._end and not self.over:
            self.stream.loop.call_from_thread(self._keep, read)
            read = self._read()
        return read

    def _check_size(self) -> None:
        if os.fstat(self._fd).st_size < self._size:
            raise OSError(ESTALE, "the file became shorter while it was read; try again")

    def _read(self) -> Read:
        read: Read
        # Never two holes in a row, even if the file changes meanwhile.
        hole = 0 if self._skipped or self._offset < self._data_end else self._next_hole()
        self._skipped = bool(hole)
        if hole:
            self._offset += hole
            read = Skip(hole), None
        else:
            end = self._data_end if self._offset < self._data_end else self._end
            buffer = self._buffer()
            room = buffer[HEADER_SIZE : HEADER_SIZE + min(_BUFFER_SIZE, end - self._offset)]
            size = os.preadv(self._fd, [room], self._offset)
            self._offset += size
            read = buffer[: HEADER_SIZE + size] if size else b"", buffer
        if self._digest is not None:
            piece = read[0]
            self._digest.update(piece.payload if isinstance(piece, Skip) else piece[HEADER_SIZE:])
        return read

    def _next_hole(self) -> int:
        """Return the length of the hole at the offset, or 0; find the end of the data behind it."""
        try:
            data = os.lseek(self._fd, self._offset, os.SEEK_DATA)
            self._data_end = min(os.lseek(self._fd, data, os.SEEK_HOLE), self._end)
        except OSError:
            # ENXIO: the rest is a hole.
            data = self._data_end = os.fstat(self._fd).st_size
        return max(0, min(data, self._end) - self._offset)
