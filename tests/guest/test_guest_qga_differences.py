"""The same conversation with qemu-ga and with our agent, in the same guest: the answers are the same."""

from __future__ import annotations

import fnmatch
import importlib
import json
import pkgutil
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine
from phoenix_ga.agent.dialects.qga.commands import BY_NAME
from tests.guest import qga_transcript
from tests.guest.qga_transcript import Row
from tests.support import wait_for
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

THEIRS = "org.qemu.guest_agent.0"
OURS = "org.phoenix.compare.0"
PAGE = Path(__file__).parent.parent.parent / "docs" / "qga.md"
ROOMS = sorted(module.name for module in pkgutil.iter_modules(qga_transcript.__path__))
# One interface of each kind that is told otherwise, and values of os-release that a shell has to read.
SURROUNDINGS = r"""
modprobe -a dummy tun sit
ip link add dummy0 type dummy && ip link set dummy0 up
ip addr add 198.51.100.7/24 dev dummy0
ip addr add 198.51.100.9/24 dev dummy0 label dummy0:1
ip addr add 2001:db8::7/64 dev dummy0 nodad
ip link add bare0 type dummy
ip link add left type veth peer name right && ip link set left up && ip link set right up
ip addr add 10.1.1.1 peer 10.1.1.2/32 dev left
ip tuntap add tun0 mode tun && ip addr add 10.3.3.3/24 dev tun0
ip link add dummy1 type dummy && ip addr add 10.77.0.1/30 dev dummy1 label dummy1:only
ip link show sit0
cp --remove-destination "$(readlink -f /etc/os-release)" /etc/os-release
cat >> /etc/os-release <<'END'
VARIANT="a \"b\" \$c \`d\` \ it\'s\n" # why
VARIANT_ID=two;words
END
ln -sf /usr/share/zoneinfo/Asia/Kathmandu /etc/localtime
"""
_DEVIATION = re.compile(r"^\| `([a-z-]+)` \| ", re.MULTILINE)


def rows(room: str) -> tuple[Row, ...]:
    found: tuple[Row, ...] = importlib.import_module(f"tests.guest.qga_transcript.{room}").ROWS
    return found


class Talker:
    """A client that sends a text, and takes all answers up to that of a sync. kept: the variables."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(30)
        self._file = self._socket.makefile("rb")
        self._number = 1_000_000
        self.kept: dict[str, str] = {}

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def hold(self, row: Row) -> list[Any]:
        """Send a row, and return its answers; a mark before one is part of it."""
        answers = self._hold_once(row)
        deadline = time.monotonic() + 30
        while row.awaits and not answers[0].get("return", {row.awaits: True})[row.awaits]:
            assert time.monotonic() < deadline, f"{row.name}: waited in vain"
            time.sleep(0.05)
            answers = self._hold_once(row)
        return answers

    def _hold_once(self, row: Row) -> list[Any]:
        self._number += 1
        text = re.sub(r"\$(\w+)", lambda match: self.kept.get(match[1], match[0]), row.sends)
        sync = {"execute": "guest-sync", "arguments": {"id": self._number}}
        sent = text.encode().replace(b"<0xFF>", b"\xff")
        self._socket.sendall(sent + b"\n" + json.dumps(sync).encode() + b"\n")
        answers: list[Any] = []
        while True:
            line = self._file.readline()
            assert line.endswith(b"\n"), line
            answer = json.loads(line.lstrip(b"\xff"))
            if answer == {"return": self._number}:
                break
            answers.append({"0xFF": answer} if line.startswith(b"\xff") else answer)
        if row.keeps and answers and "return" in answers[0]:
            value = answers[0]["return"]
            (value,) = value.values() if isinstance(value, dict) else (value,)
            self.kept[row.keeps] = json.dumps(value)
        return answers


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest with qemu-ga on its port, and our agent, by its name, on another one."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    files["/usr/sbin/phoenix-qemu-ga"] = files["/usr/sbin/phoenix-ga"]
    with Machine(files=files, ports=[THEIRS, OURS]) as machine:
        # It was started again and again while ours had the port.
        machine.run("systemctl stop phoenix-ga && systemctl reset-failed")
        machine.run("systemctl start qemu-guest-agent")
        machine.run(f"mkdir -p /run/ours && systemd-run -q phoenix-qemu-ga -t /run/ours -p /dev/virtio-ports/{OURS}")
        machine.run(f"set -e; {SURROUNDINGS}")
        yield machine


@pytest.fixture(scope="module")
def talkers(machine: Machine) -> Iterator[tuple[Talker, Talker]]:
    """Clients of ours and of theirs."""
    ours, theirs = Talker(machine.socket(OURS)), Talker(machine.socket(THEIRS))
    yield ours, theirs
    ours.close()
    theirs.close()


def compare(ours: Any, theirs: Any, masked: tuple[str, ...], path: str = "") -> list[str]:
    """Return how two values differ; of what is masked, only how their shapes do."""
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in masked):
        return [] if shape(ours) == shape(theirs) else [f"{path}: shape {shape(ours)!r}, theirs {shape(theirs)!r}"]
    if type(ours) is not type(theirs):
        return [f"{path}: {ours!r}, theirs {theirs!r}"]
    prefix = f"{path}/" if path else ""
    if isinstance(ours, dict):
        found = [f"{prefix}{name}: only ours" for name in ours.keys() - theirs.keys()]
        found += [f"{prefix}{name}: only theirs" for name in theirs.keys() - ours.keys()]
        for name in sorted(ours.keys() & theirs.keys()):
            found += compare(ours[name], theirs[name], masked, prefix + name)
        return found
    if isinstance(ours, list) and len(ours) == len(theirs):
        return [text for at, pair in enumerate(zip(ours, theirs)) for text in compare(*pair, masked, f"{prefix}{at}")]
    return [] if ours == theirs else [f"{path}: {ours!r}, theirs {theirs!r}"]


def shape(value: Any) -> Any:
    """Return the types that a value is made of; of a list, which kinds of elements it has."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(element), sort_keys=True) for element in value})
    return type(value).__name__


class Conversations:
    """The conversations of the rooms, each held once: the rows, our answers and theirs."""

    def __init__(self, ours: Talker, theirs: Talker) -> None:
        self._ours = ours
        self._theirs = theirs
        self._held: dict[str, list[tuple[Row, list[Any], list[Any]]]] = {}

    def hold(self, room: str) -> list[tuple[Row, list[Any], list[Any]]]:
        if room not in self._held:
            self._held[room] = [(row, self._ours.hold(row), self._theirs.hold(row)) for row in rows(room)]
        return self._held[room]


@pytest.fixture(scope="module")
def conversations(talkers: tuple[Talker, Talker]) -> Conversations:
    return Conversations(*talkers)


@pytest.mark.parametrize("room", ROOMS)
def test_the_answers_are_the_same_but_for_what_is_listed(room: str, conversations: Conversations) -> None:
    problems = []
    for row, ours, theirs in conversations.hold(room):
        found = compare(ours, theirs, row.masked)
        if found and not row.differs:
            problems.append(f"{row.name}: {row.sends}\n    " + "\n    ".join(found))
        elif row.differs and not found:
            problems.append(f"{row.name}: is listed as {row.differs}, but does not differ")
    assert not problems, "\n".join(["", *problems])


def test_each_deviation_is_listed_with_its_reason_and_met() -> None:
    listed = _DEVIATION.findall(PAGE.read_text().partition("\n## What differs\n")[2])
    met = {row.differs for room in ROOMS for row in rows(room)} - {""}
    assert met == set(listed)


def test_each_command_is_asked_for_and_mistaken_at_least_three_times(conversations: Conversations) -> None:
    done: dict[str, int] = dict.fromkeys(BY_NAME, 0)
    mistaken: dict[str, int] = dict.fromkeys(BY_NAME, 0)
    # Not counting those that can be made with any command.
    mistaken_itself: dict[str, int] = dict.fromkeys(BY_NAME, 0)
    for room in ROOMS:
        for row, _, theirs in conversations.hold(room):
            for name in BY_NAME:
                if f'"{name}"' in row.sends:
                    done[name] += any("error" not in answer for answer in theirs)
                    failed = ["error" in answer for answer in theirs] == [True]
                    mistaken[name] += failed
                    mistaken_itself[name] += failed and room != "mistakes"
    # What ends the machine, or its time, is tried elsewhere; two are newer than the other agent.
    untried = {name for name, count in done.items() if not count}
    assert untried == {
        "guest-shutdown",
        *(f"guest-suspend-{how}" for how in ("disk", "ram", "hybrid")),
        "guest-set-time",
        *("guest-get-load", "guest-network-get-route"),
    }
    assert {name: count for name, count in mistaken.items() if count < 3} == {}
    with_arguments = {name for name, command in BY_NAME.items() if command.parameters}
    assert {name: mistaken_itself[name] for name in with_arguments if mistaken_itself[name] < 3} == {}


def test_the_comparison_finds_differences() -> None:
    assert compare({"a": 1}, {"a": 1}, ()) == []
    assert compare({"a": 1}, {"a": 2}, ()) == ["a: 1, theirs 2"]
    assert compare({"a": 1}, {"a": 2}, ("a",)) == []
    assert compare({"a": 1}, {"a": "2"}, ("a",)) != []
    assert compare([{"a": [1]}], [{"a": [1], "b": 2}], ()) == ["0/b: only theirs"]
    assert compare([1], [1, 2], ()) != []
    assert compare({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, ("a",)) == []
    assert compare({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, ("a",)) != []


def test_both_agents_are_who_they_are(machine: Machine, talkers: tuple[Talker, Talker]) -> None:
    versions = [talker.hold(Row("", '{"execute": "guest-info"}'))[0]["return"]["version"] for talker in talkers]
    assert versions[0] != versions[1]
    wait_for(lambda: machine.run("pidof qemu-ga", check=False).status == 0)
