"""What the QEMU Guest Agent's clients get of disks, filesystems and the freeze, on this machine.

Nothing is frozen or trimmed here: that is for a guest.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.agent.test_stuck_commands import StuckFile
from tests.ends.client import LineClient
from tests.support import AgentProcess


def ask(client: LineClient, execute: str, **arguments: object) -> dict[str, Any]:
    client.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
    return client.answer()


def test_every_disk_address_is_complete(client: LineClient) -> None:
    filesystems = ask(client, "guest-get-fsinfo")["return"]
    addresses = [disk for each in filesystems for disk in each["disk"]]
    disks = ask(client, "guest-get-disks")["return"]
    addresses += [each["address"] for each in disks if "address" in each]
    for each in filesystems:
        assert {"name", "mountpoint", "type", "disk"} <= set(each)
    for address in addresses:
        assert set(address["pci-controller"]) == {"domain", "bus", "slot", "function"}
        numbers = [*address["pci-controller"].values(), address["bus"], address["target"], address["unit"]]
        assert all(type(number) is int for number in numbers)
        assert type(address["bus-type"]) is str
    for each in disks:
        assert os.path.exists(each["name"])
        assert type(each["partition"]) is bool
        assert type(each["dependencies"]) is list


def test_the_counters_are_those_of_the_kernel(client: LineClient) -> None:
    shown = ask(client, "guest-get-diskstats")["return"]
    lines = [line.split() for line in Path("/proc/diskstats").read_text().splitlines()]
    assert [(each["major"], each["minor"], each["name"]) for each in shown] == [
        (int(line[0]), int(line[1]), line[2]) for line in lines
    ]
    assert all(len(each["stats"]) == len(line) - 3 for each, line in zip(shown, lines))


def test_nothing_is_frozen(client: LineClient) -> None:
    assert ask(client, "guest-fsfreeze-status") == {"return": "thawed"}
    assert ask(client, "guest-fsfreeze-thaw") == {"return": 0}
    assert ask(client, "guest-fsfreeze-status") == {"return": "thawed"}


def test_a_thaw_is_not_kept_waiting_by_commands_that_are_stuck(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(tmp_path, "--max-workers=1"))
        stuck = StuckFile(tmp_path / "fifo")
        stack.callback(stuck.close)
        stuck.ask_to_write(stack.enter_context(agent.connect()))
        kept_waiting = stack.enter_context(agent.connect())
        kept_waiting.send(b'{"execute": "guest-get-diskstats"}')
        client = stack.enter_context(agent.connect())
        assert ask(client, "guest-fsfreeze-thaw") == {"return": 0}
        assert ask(client, "guest-fsfreeze-status") == {"return": "thawed"}
        kept_waiting.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            kept_waiting.line()


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("guest-fsfreeze-freeze", {"a": 1}, "Parameter 'a' is unexpected"),
        ("guest-fsfreeze-freeze-list", {"a": 1}, "Parameter 'a' is unexpected"),
        (
            "guest-fsfreeze-freeze-list",
            {"mountpoints": "/"},
            "Invalid parameter type for 'mountpoints', expected: array",
        ),
        (
            "guest-fsfreeze-freeze-list",
            {"mountpoints": [1]},
            "Invalid parameter type for 'mountpoints[0]', expected: string",
        ),
        ("guest-fstrim", {"minimum": "1"}, "Invalid parameter type for 'minimum', expected: integer"),
        ("guest-fstrim", {"maximum": 1}, "Parameter 'maximum' is unexpected"),
    ],
)
def test_mistakes(client: LineClient, command: str, arguments: dict[str, object], text: str) -> None:
    assert ask(client, command, **arguments)["error"] == {"class": "GenericError", "desc": text}


def test_a_policy_that_forbids_to_freeze_forbids_it_in_both_dialects(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--block", "fs-freeze") as agent, agent.connect() as client:
        for name in ("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"):
            text = f"Command {name} has been disabled: the command is not allowed"
            assert ask(client, name)["error"] == {"class": "CommandNotFound", "desc": text}
        assert ask(client, "guest-fsfreeze-status") == {"return": "thawed"}
