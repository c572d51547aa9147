"""`ls` of directories that are larger than they should be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.cli import spooled_sort
from phoenix_ga.cli.spooled_sort import SpooledSort
from phoenix_ga.client import SILENCE
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.streams import Stream
from tests.cli.conftest import Run, command_line, environment
from tests.ends.agent import ScriptedAgent, listed
from tests.support import AgentProcess

RECORDS = st.lists(st.tuples(st.integers(), st.text(max_size=5), st.booleans(), st.text(max_size=5)), max_size=50)


@given(RECORDS, st.booleans(), st.integers(1, 40))
def test_what_is_spooled_is_sorted(records: list[spooled_sort.Record], reverse: bool, run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spooled_sort, "_RUN", run)
        patch.setattr(spooled_sort, "_BLOCK", 3)
        with SpooledSort(reverse) as ordered:
            for record in records:
                ordered.add(record)
            assert list(ordered) == sorted(records, reverse=reverse)


def test_a_guest_does_not_fill_the_disk_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_sort, "_RUN", 1000)
    monkeypatch.setattr(spooled_sort, "_SIZE_MAX", 50_000)
    with SpooledSort(False) as ordered:
        for _ in range(50):
            ordered.add((0, "x" * 1000, False, ""))
        with pytest.raises(OSError, match="use -U"):
            ordered.add((0, "x" * 1000, False, ""))


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_unsorted_output_begins_before_the_directory_ends(run: Run, scripted: ScriptedAgent, json: list[str]) -> None:
    status = BY_NAME["file-stat"].examples[0].answer
    top = {**status, "isdir": True, "stat": {**status["stat"], "Mode": 0o40755}}
    whole = listed({**status, "name": "first"}, {**status, "name": "second"})
    # Without its last frame, the stream does not end.
    end = Stream(1, credit=0, window=0).end({})
    scripted.answers = {
        "file-stat": top,
        "directory-entries": lambda request: whole(request)[: -len(end)],
        "get-session": SILENCE,
    }
    result = run("--timeout", 0.5, *json, "ls", "-U", f"{scripted.endpoint}:/top")
    assert result.returncode == 124
    assert result.stdout.count("first") >= 1
    assert "second" in result.stdout
    assert run("--timeout", 0.5, *json, "ls", f"{scripted.endpoint}:/top").stdout == ""


@pytest.mark.parametrize("flags", ["-1", "-1r", "-1S", "-1t", "-1U", "-l", "-lR"])
def test_thousands_of_entries_are_those_of_ls(run: Run, endpoint: str, tmp_path: Path, flags: str) -> None:
    for number in range(3000):
        path = tmp_path / f"{number * 7919 % 3000:04}"
        os.mknod(path)
        os.utime(path, (number, number))
    listing = run("ls", flags, f"{endpoint}:{tmp_path}").stdout.splitlines()
    command = ["ls", flags, "--time-style=+%Y-%m-%d %H:%M", str(tmp_path)]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    assert [line.split() for line in listing] == [line.split() for line in theirs.stdout.splitlines()]
    value = json.loads(run("--json", "ls", "-r", f"{endpoint}:{tmp_path}").stdout)
    assert [entry["name"] for entry in value["entries"]] == [f"{number:04}" for number in range(3000)][::-1]


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flags", [["-U"], []])
def test_a_million_entries_are_listed_in_bounded_memory(
    agent: AgentProcess, endpoint: str, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "listed").mkdir()
    for number in range(1_000_000):
        os.mknod(tmp_path / "listed" / f"a name of some length {number:07}")
    command = command_line("ls", *flags, f"{endpoint}:{tmp_path}/listed")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        names = sum(line.count(b"a name of some length") for line in process.stdout)
        assert os.wait4(process.pid, 0)[2].ru_maxrss < 60 << 10
    assert names == 1_000_000
    # The agent was started anew if it was parked before, so there is nothing to compare with.
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 32 << 10
