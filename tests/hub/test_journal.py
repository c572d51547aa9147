"""The record in the journal, in which every value is a field."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from phoenix_ga.hub.audit import Record

LINE = {"user": "al\nice", "uid": 7, "guest": "web1", "command": "exec", "result": "refused: rule 1", "arguments": {}}


class Host:
    """The journal's end of its socket, and a standard error that leads there."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stderr = directory / "stderr"
        log = self.stderr.open("w")
        status = os.fstat(log.fileno())
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        self.path = str(directory / "journal")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(30)
        self.socket.bind(self.path)

    def write(self) -> None:
        record = Record(None, self.path)
        record.write(LINE)
        record.close()


def read_entry(data: bytes) -> dict[str, str]:
    """Return the fields of a datagram, read as journald does."""
    fields = {}
    while data:
        name, _, rest = data.partition(b"\n")
        (length,) = struct.unpack_from("<Q", rest)
        fields[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        data = rest[9 + length :]
    return fields


def test_each_value_is_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    host.write()
    entry = read_entry(host.socket.recv(65536))
    assert json.loads(entry["MESSAGE"]) == LINE
    assert (entry["PHOENIX_USER"], entry["PHOENIX_UID"], entry["PHOENIX_GUEST"]) == ("al\nice", "7", "web1")
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("4", "phoenix-hub")
    assert not host.stderr.read_text()


def test_without_the_journal_the_line_goes_to_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    host.socket.close()
    host.write()
    assert json.loads(host.stderr.read_text()) == LINE


def test_a_standard_error_that_is_not_the_journal_gets_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    host.write()
    assert json.loads(host.stderr.read_text()) == LINE
