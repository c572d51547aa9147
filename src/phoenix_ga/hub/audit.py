"""The record: a line of JSON for each request that changes a guest, and for each refusal.

    {"time": "2026-01-31T09:30:00.123456+01:00", "user": "alice", "uid": 1000, "pid": 4711, "program": "phoenixctl",
     "guest": "web1", "command": "exec", "arguments": {"argv": ["uptime"], "env": "<hidden>"}, "result": "done",
     "duration": 0.012}

`result` is `done`, `refused: REASON` or `failed: ERROR`. Values that are secret or long are left out.

Anybody can be refused as often as they like: of one user, 100 refusals in a minute are written. `unwritten` in the
next one tells how many there were besides.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from phoenix_ga.hub.catalogue import HIDDEN, changes_guest
from phoenix_ga.hub.journal import Journal, is_journal
from phoenix_ga.hub.messages import ClientRequest
from phoenix_ga.hub.router import Call, Client
from phoenix_ga.hub.rules import Rules
from phoenix_ga.hub.users import User

_VALUE_MAX: Final = 200
_JOURNAL: Final = "/run/systemd/journal/socket"
_FILE_MAX: Final = 16 * 1024 * 1024
_FILES: Final = 8
_REFUSALS_MAX: Final = 100
_REFUSALS_TIME: Final = 60.0


class Record:
    """Where the lines go: a file that rotates; else the journal if standard error leads there; else standard error.

    Args:
        path: of the file; None: the journal or standard error.
        journal: the socket of the journal.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path | None, journal: str = _JOURNAL) -> None:
        self._handler: logging.Handler
        self._journal: Journal | None = None
        if path is None:
            self._handler = logging.StreamHandler()
            if is_journal(sys.stderr.fileno()):
                self._journal = Journal(journal)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o640, exist_ok=True)
            self._handler = logging.handlers.RotatingFileHandler(path, maxBytes=_FILE_MAX, backupCount=_FILES)
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        # By user: when the minute began, and how many refusals there were in it.
        self._refusals: dict[int, tuple[float, int]] = {}

    def note_refusal(self, uid: int) -> int:
        """Return how many refusals of a user were not written before this one, or -1 if this one is not either."""
        now = time.monotonic()
        began, count = self._refusals.get(uid, (now, 0))
        unwritten = 0
        if now - began >= _REFUSALS_TIME:
            unwritten, began, count = max(0, count - _REFUSALS_MAX), now, 0
        self._refusals[uid] = began, count + 1
        return unwritten if count < _REFUSALS_MAX else -1

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line."""
        text = json.dumps(line, ensure_ascii=True)
        if self._journal is None or not self._journal.send(text, line):
            self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
        if self._journal is not None:
            self._journal.close()


class Observer:
    """Applies the rules to the requests for one guest, and records them.

    Attributes:
        rules: the rules of now; they may be replaced.
        record: where the lines go; it may be replaced.
        refused: number of requests that were refused.
    """

    def __init__(self, guest: str, rules: Rules, record: Record) -> None:
        self._guest = guest
        self.record = record
        self._begun: dict[Call, float] = {}
        self.rules = rules
        self.refused = 0

    def refusal(self, client: Client, request: ClientRequest) -> str:
        """Return why a request is refused, or an empty string."""
        user: User = client.user
        command, arguments = request.execute, request.arguments
        verdict = self.rules.decide(user, self._guest, command, arguments)
        if verdict.allowed:
            return ""
        self.refused += 1
        unwritten = self.record.note_refusal(user.uid)
        if unwritten >= 0:
            more = {"unwritten": unwritten} if unwritten else {}
            self._write(user, command, arguments, f"refused: {verdict.reason}", 0.0, more)
        return f"{user.name} may not use {command} on guest {self._guest}: {verdict.reason}"

    def begun(self, call: Call) -> None:
        """Note that a request goes to the guest."""
        request = call.request
        if changes_guest(request.execute, request.arguments):
            self._begun[call] = time.monotonic()

    def ended(self, call: Call, error: str) -> None:
        """Note that it was answered."""
        begun = self._begun.pop(call, None)
        if begun is not None:
            request = call.request
            result = f"failed: {error}" if error else "done"
            self._write(call.client.user, request.execute, request.arguments, result, time.monotonic() - begun)

    def _write(
        self,
        user: User,
        command: str,
        arguments: Mapping[str, Any],
        result: str,
        duration: float,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.record.write(
            {
                "time": datetime.now().astimezone().isoformat(),
                "user": user.name,
                "uid": user.uid,
                "pid": user.pid,
                "program": user.program,
                "guest": self._guest,
                "command": command[:_VALUE_MAX],
                "arguments": {name[:_VALUE_MAX]: _shown(name, value) for name, value in list(arguments.items())[:50]},
                "result": result,
                "duration": round(duration, 6),
                **more,
            }
        )


def _shown(name: str, value: Any) -> Any:
    if name in HIDDEN:
        return "<hidden>"
    if isinstance(value, (bool, int, float, type(None))):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = [word[:_VALUE_MAX] for word in value[:20]]
        return [*words, "..."] if len(value) > len(words) else words
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}..."
