"""What files have in common as the ends of streams: disks are waited for on workers."""

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
    """What both directions share: one job at a time on a worker, which alone uses the file."""

    def __init__(self) -> None:
        self.stream: OpenStream | None = None
        self.working = False
        self.over = False

    def start(self, stream: OpenStream) -> None:
        self.stream = stream

    def closed(self, loop: Loop, workers: Workers) -> None:
        self.over = True
        if not self.working:
            self._let_go_on(workers)

    def work(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `job` on a worker, then `done` with its result on the loop. Errors end the stream."""
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
                self._let_go_on(stream.workers)
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

    def _let_go_on(self, workers: Workers) -> None:
        try:
            workers.submit(self.let_go)
        except OSError:
            # No thread is left for it: what takes long here takes longer elsewhere.
            self.let_go()

    def let_go(self) -> None:
        """Close what is open, on a worker. Must not raise."""
        raise NotImplementedError
