"""The source of `events`: sends a line for each event, and drops what the client does not read."""

from __future__ import annotations

from time import time

from phoenix_ga.agent.endpoints.file import FileEndpoint
from phoenix_ga.wire.json_text import encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.endpoints.endpoint import Piece
    from phoenix_ga.agent.operations.events.producer import Producer
    from phoenix_ga.agent.protocol.streams import OpenStream

    Subscriber = Callable[[str, "dict[str, Any]"], None]

# Events that are kept for a client that does not read.
QUEUE_MAX: Final = 500
_LOST: Final = "EVENTS_LOST"


class EventsEndpoint(FileEndpoint):
    """Tells events of its producers, and those of the agent itself.

    Args:
        names: The events that are wanted.
        subscribers: What the agent calls with its own events.
    """

    def __init__(self, producers: Sequence[Producer], names: Collection[str], subscribers: list[Subscriber]) -> None:
        super().__init__()
        self._producers = producers
        self._names = names
        self._subscribers = subscribers
        # Events that were not sent, and where those of each key are. The numbers count from the first ever.
        self._queue: list[dict[str, Any]] = []
        self._keys: dict[object, dict[str, Any]] = {}
        self._text = b""
        # What was dropped since the last event in the queue, and whether the kernel has dropped others.
        self._dropped = 0
        self._more = False
        # Work for a worker, which does one thing at a time.
        self._jobs: dict[Callable[[], Any], None] = {}

    def start(self, stream: OpenStream) -> None:
        super().start(stream)
        self._subscribers.append(self.tell)
        for producer in self._producers:
            stream.watch(producer.source.fd, self._when_ready(producer), producer.source.events)
            if producer.slow:
                # epoll_ctl(2) itself has asked such a file for a change, and does not report it.
                self._work(producer.examine)

    def pull(self, size: int) -> Piece:
        while len(self._text) < size and self._queue:
            event = self._queue.pop(0)
            self._text += encode_json(event) + b"\n"
            self._add_lost()
        if not self._queue:
            self._keys.clear()
        piece, self._text = self._text[:size], self._text[size:]
        return piece

    def closed(self, loop: Loop, workers: Workers) -> None:
        if self.stream is not None:
            self._subscribers.remove(self.tell)
            for producer in self._producers:
                loop.unwatch(producer.source.fd)
        super().closed(loop, workers)

    def release(self) -> None:
        for producer in self._producers:
            producer.source.close()

    def tell(self, name: str, data: dict[str, Any], key: object = None) -> None:
        """Queue an event, if it is wanted and there is room. key: replace one of the same key that was not sent."""
        assert self.stream is not None
        if name not in self._names:
            return
        now = time()
        timestamp = {"seconds": int(now), "microseconds": int(now % 1 * 1_000_000)}
        event = {"event": name, "data": data, "timestamp": timestamp}
        if key is not None:
            queued = self._keys.get((name, key))
            if queued is not None and queued in self._queue:
                queued.update(event)
                return
        if len(self._queue) >= QUEUE_MAX or self._dropped:
            self._dropped += 1
            return
        self._queue.append(event)
        if key is not None:
            self._keys[name, key] = event
        self.stream.ready()

    def _add_lost(self) -> None:
        """Say that events were lost, once there is room for that."""
        if not (self._dropped or self._more) or len(self._queue) >= QUEUE_MAX // 2:
            return
        dropped, more = self._dropped, self._more
        self._dropped, self._more = 0, False
        if self._queue and self._queue[-1]["event"] == _LOST:
            data = self._queue[-1]["data"]
            data.update(count=data["count"] + dropped, more=data["more"] or more)
        else:
            self.tell(_LOST, {"count": dropped, "more": more})

    def _when_ready(self, producer: Producer) -> Callable[[int], None]:
        return lambda events: self._happened(producer)

    def _happened(self, producer: Producer) -> None:
        if self.over:
            return
        assert self.stream is not None
        source = producer.source
        items, more = source.read()
        producer.take(items, self.tell)
        if source.lost:
            source.lost, self._more = False, True
            self._add_lost()
            self._work(producer.recover)
        if producer.slow:
            self._work(producer.examine)
        for failed in producer.failed_devices:
            for other in self._producers:
                self._work(_failure(other, failed))
        producer.failed_devices.clear()
        if more:
            self.stream.loop.call_soon(self._happened, producer)

    def _work(self, job: Callable[[], Any]) -> None:
        self._jobs[job] = None
        self._next_job()

    def _next_job(self) -> None:
        if self._jobs and not self.working:
            job = next(iter(self._jobs))
            del self._jobs[job]
            self.work(job, self._worked)

    def _worked(self, found: Any) -> None:
        for name, data in found or ():
            self.tell(name, data)
        self._next_job()


def _failure(producer: Producer, device: str) -> Callable[[], Any]:
    return lambda: producer.device_failed(device)
