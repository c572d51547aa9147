"""The base class of file endpoints: everything that may wait for a disk runs on a worker."""

from __future__ import annotations

from errno import EINVAL

from phoenix_ga.agent.endpoints.endpoint import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.protocol.streams import OpenStream


class FileEndpoint(Endpoint):
    """Runs one job at a time on a worker; only that job uses the file."""

    def __init__(self) -> None:
        self.stream: OpenStream | None = None
        self.working = False
        self.over = False

    def start(self, stream: OpenStream) -> None:
        self.stream = stream

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.over = True
        if not self.working:
            self._release_on(workers)

    def work(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `job` on a worker, then `done` with its result on the loop. An error ends the stream."""
        assert self.stream is not None
        stream = self.stream

        def run() -> None:
            try:
                result = job()
            except Exception as error:
                stream.loop.call_from_thread(finished, None, error)
            else:
                stream.loop.call_from_thread(finished, result, None)

        def finished(result: Any, error: Exception | None) -> None:
            self.working = False
            if self.over:
                self._release_on(stream.workers)
            elif error is not None:
                self._fail(error)
            else:
                done(result)

        self.working = True
        try:
            stream.workers.submit(run)
        except OSError as error:
            self.working = False
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        assert self.stream is not None
        if isinstance(error, OSError):
            self.stream.fail(error.strerror or str(error), error.errno or EINVAL)
        else:
            self.stream.fail(f"{type(error).__name__}: {error}", EINVAL)

    def _release_on(self, workers: Workers) -> None:
        try:
            workers.submit(self.release)
        except OSError:
            # No thread is left: closing may block the loop, but must happen.
            self.release()

    def release(self) -> None:
        """Close what is open, on a worker. Must not raise."""
        raise NotImplementedError
