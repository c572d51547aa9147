"""What a client is told by streams of lines: conditions that are fulfilled, and events."""

from __future__ import annotations

import json
from typing import Any

from phoenix_ga.wire.events import BY_NAME
from tests.ends.client import DATA, END, RESET, LineClient


class Wait:
    """A wait of a client, and what it has found so far."""

    def __init__(self, client: LineClient, *conditions: str, **arguments: Any) -> None:
        self._client = client
        self.stream = client.call("wait-for", conditions=list(conditions), **arguments)["stream"]
        self._text = b""

    def next(self) -> tuple[int, str] | None:
        """Return the next condition and what was found; None at the end."""
        while b"\n" not in self._text:
            frame = self._client.frame()
            assert frame.stream == self.stream
            if frame.type == END:
                return None
            assert frame.type == DATA, frame
            self._text += frame.payload
        line, _, self._text = self._text.partition(b"\n")
        found = json.loads(line)
        return found["condition"], found["found"]

    def cancel(self) -> None:
        self._client.send_frame(RESET, self.stream, b'{"bufb64": "", "code": 0}')


def check_form(event: dict[str, Any]) -> None:
    """Assert that an event is what its declaration says."""
    assert list(event) == ["event", "data", "timestamp"]
    declared = BY_NAME[event["event"]]
    assert {name: type(value) for name, value in event["data"].items()} == {
        member.name: member.kind for member in declared.members
    }
    assert {name: type(value) for name, value in event["timestamp"].items()} == {"seconds": int, "microseconds": int}


class Subscription:
    """The events that a client is told."""

    def __init__(self, client: LineClient, *names: str, **arguments: Any) -> None:
        self.client = client
        self.answer = client.call("events", names=list(names), **arguments)
        self.stream = self.answer["stream"]
        self._text = b""

    def next(self) -> dict[str, Any]:
        while b"\n" not in self._text:
            frame = self.client.frame()
            assert (frame.type, frame.stream) == (DATA, self.stream), frame
            self._text += frame.payload
        line, _, self._text = self._text.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        check_form(event)
        return event

    def until(self, event_name: str, **data: Any) -> dict[str, Any]:
        """Return the data of the next event of this name with such data; skip others."""
        while True:
            event = self.next()
            if event["event"] == event_name and data.items() <= event["data"].items():
                found: dict[str, Any] = event["data"]
                return found

    def cancel(self) -> None:
        self.client.send_frame(RESET, self.stream, b'{"bufb64": "", "code": 0}')

    def names(self, count: int) -> list[str]:
        return [self.next()["event"] for _ in range(count)]
