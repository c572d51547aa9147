"""Listing the ports of a guest."""

from __future__ import annotations

import json
import os
import socket

from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.client.test_hostile_answers import answer_of
from tests.ends.agent import ScriptedAgent


def test_a_port_is_listed_with_its_program(run: Run, endpoint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        lines = run("ports", endpoint).stdout.splitlines()
        objects = json.loads(run("--json", "ports", endpoint).stdout)["sockets"]
    (line,) = [line for line in lines if line.split()[:3] == ["tcp", "127.0.0.1", str(port)]]
    assert f"({os.getpid()})" in line
    assert port in [each["port"] for each in objects]


def test_the_name_of_a_program_does_not_reach_the_terminal(run: Run, scripted: ScriptedAgent) -> None:
    answer = answer_of(BY_NAME["socket-list"])
    answer["sockets"][0].update(address="\x1b[2J", protocol="\n", user="\x07")
    answer["sockets"][0]["processes"][0]["name"] = "\u202e"
    answer["omitted"] = 7
    scripted.answers["socket-list"] = answer
    result = run("ports", scripted.endpoint)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 3)
    assert result.stdout.replace("\n", "").isprintable()
    assert result.stdout.endswith("7 more ports are not shown\n")
