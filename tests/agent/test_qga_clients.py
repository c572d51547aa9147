"""Requests as real clients of the QEMU Guest Agent send them, and what those clients do with the answers."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ends.client import LineClient
from tests.ends.proxmox import ask_as_proxmox
from tests.support import AgentProcess

BLOCK = bytes(range(256)) * 200


def as_proxmox(agent: AgentProcess, execute: str, **arguments: Any) -> Any:
    return ask_as_proxmox(agent.socket_path, execute, **arguments)


def test_proxmox_writes_and_reads_a_file(agent: AgentProcess, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    handle = as_proxmox(agent, "guest-file-open", path=path, mode="wb")
    # MIME::Base64 breaks its lines.
    text = base64.encodebytes(BLOCK).decode()
    assert text.count("\n") > 100
    as_proxmox(agent, "guest-file-write", **{"handle": handle, "buf-b64": text})
    as_proxmox(agent, "guest-file-close", handle=handle)
    handle = as_proxmox(agent, "guest-file-open", path=path, mode="rb")
    read = as_proxmox(agent, "guest-file-read", handle=handle, count=1024 * 1024)
    assert base64.b64decode(read["buf-b64"]) == BLOCK
    assert (read["count"], read["eof"]) == (len(BLOCK), True)
    as_proxmox(agent, "guest-file-close", handle=handle)


def test_proxmox_runs_a_program(agent: AgentProcess) -> None:
    options = {"path": "sh", "arg": ["-c", "cat; echo err >&2; exit 3"], "capture-output": True}
    started = as_proxmox(agent, "guest-exec", **options, **{"input-data": base64.encodebytes(b"input").decode()})
    while not (status := as_proxmox(agent, "guest-exec-status", pid=started["pid"]))["exited"]:
        time.sleep(0.01)
    assert status["exitcode"] == 3
    assert base64.b64decode(status["out-data"]) == b"input"
    assert base64.b64decode(status["err-data"]) == b"err\n"


@pytest.mark.parametrize("command", ["guest-ping", "guest-info", "guest-get-osinfo", "guest-network-get-interfaces"])
def test_proxmox_asks_for_what_it_shows(agent: AgentProcess, command: str) -> None:
    as_proxmox(agent, command)


class Libvirt:
    """A connection as libvirt has it: one plain sync, then one command in flight; each line is a JSON object."""

    def __init__(self, client: LineClient) -> None:
        self._client = client
        assert self.ask("guest-sync", {"id": 1_763_000_000_123}) == 1_763_000_000_123

    def ask(self, execute: str, arguments: dict[str, Any] | None = None) -> Any:
        message = {"execute": execute} if arguments is None else {"execute": execute, "arguments": arguments}
        self._client.send(json.dumps(message).encode() + b"\n")
        line = self._client.line()
        assert line.startswith(b"{")
        assert len(line) < 10 * 1024 * 1024
        answer = json.loads(line)
        assert set(answer) == {"return"}, answer
        return answer["return"]


def test_kubevirt_finds_the_commands_it_needs_and_probes_with_a_program(client: LineClient) -> None:
    guest = Libvirt(client)
    commands = {entry["name"]: entry for entry in guest.ask("guest-info")["supported_commands"]}
    needed = "ping get-time info shutdown network-get-interfaces get-fsinfo get-host-name get-users get-timezone"
    for name in (*needed.split(), "get-osinfo", "set-user-password", "exec", "exec-status"):
        assert commands[f"guest-{name}"]["enabled"] is True
    started = guest.ask("guest-exec", {"path": "true", "arg": [], "capture-output": True})
    while not (status := guest.ask("guest-exec-status", {"pid": started["pid"]}))["exited"]:
        time.sleep(0.01)
    assert status == {"exited": True, "exitcode": 0}


def test_ansible_finds_entries_of_exactly_three_members_and_polls_without_a_pause(client: LineClient) -> None:
    guest = Libvirt(client)
    entries = guest.ask("guest-info")["supported_commands"]
    for name in ("exec", "exec-status", "file-open", "file-close", "file-read", "file-write"):
        assert {"enabled": True, "name": f"guest-{name}", "success-response": True} in entries
    command = {"path": "/bin/sh", "arg": ["-c", "sleep 0.3; echo done"], "capture-output": True}
    started = guest.ask("guest-exec", command)
    polls = 0
    while not (status := guest.ask("guest-exec-status", {"pid": started["pid"]}))["exited"]:
        polls += 1
    assert polls > 10
    assert base64.b64decode(status["out-data"]) == b"done\n"


def test_a_request_that_libvirt_gave_up_on_is_answered_all_the_same_and_in_order(client: LineClient) -> None:
    for number in range(3):
        client.send(json.dumps({"execute": "guest-sync", "arguments": {"id": number}}).encode() + b"\n")
        client.send(b'{"execute": "guest-get-time"}\n')
    answers = [client.answer()["return"] for _ in range(6)]
    assert answers[::2] == [0, 1, 2]
    assert all(answer > 2 for answer in answers[1::2])
