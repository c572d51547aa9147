"""`phoenixctl check`: the states, texts and performance data of a monitoring plugin."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.cli.plugin_checks import CRITICAL, OK, WARNING, Limits, Range, ranges
from phoenix_ga.client import SILENCE
from tests.cli.conftest import Run
from tests.cli.test_metrics import ANSWER, EVIL
from tests.ends.agent import ScriptedAgent

# The guidelines' grammar: 'label'=value[UOM];[warn];[crit];[min];[max]
PERFDATA = re.compile(r"'[^'=|]+'=-?[\d.e+-]+[s%]?;[^;' ]*;[^;' ]*;[\d.]*;[\d.]*")
FROZEN: dict[str, Any] = {
    "frozen": True,
    "remaining": -1,
    "ended": "",
    "generation": "x",
    "until": 0,
    "blocked": 0,
    "stage": "",
    "since": 0,
}


@pytest.mark.parametrize(
    ("text", "alerting", "quiet"),
    [
        ("10", (-1, 10.1), (0, 5, 10)),
        ("10:", (9.9,), (10, 1e9)),
        ("~:10", (10.1,), (-1e9, 10)),
        ("10:20", (9, 21), (10, 15, 20)),
        ("@10:20", (10, 15, 20), (9, 21)),
        ("-5:5", (-6, 6), (0,)),
        ("0.5", (0.6,), (0.5,)),
    ],
)
def test_ranges_alert_as_the_guidelines_say(text: str, alerting: tuple[float, ...], quiet: tuple[float, ...]) -> None:
    assert all(Range.parse(text).alerts(value) for value in alerting)
    assert not any(Range.parse(text).alerts(value) for value in quiet)


def test_a_range_that_is_none() -> None:
    for text in ("", "x", "10:5", "1:2:3", "@", "5%"):
        with pytest.raises(ValueError, match="range"):
            Range.parse(text)


def test_several_values_have_several_ranges() -> None:
    limits = Limits(ranges("3,2"), ranges("5"))
    assert [limits.judge(2.5, index) for index in range(3)] == [OK, WARNING, WARNING]
    assert limits.judge(6, 2) == CRITICAL


def test_each_check_of_a_real_agent(run: Run, endpoint: str) -> None:
    for name in ("agent", "disk", "load", "memory", "freeze", "clock", "all"):
        result = run("check", name, endpoint)
        assert result.returncode in (0, 1, 2), result.stdout
        assert result.stderr == ""
        state, data = re.fullmatch(rf"{name.upper()} (OK|WARNING|CRITICAL) - [^|]+ \| (.*)\n", result.stdout).groups()  # type: ignore[union-attr]
        assert ("OK", "WARNING", "CRITICAL")[result.returncode] == state
        assert all(PERFDATA.fullmatch(each) for each in re.split(r" (?=')", data)), data
    assert run("check", "clock", endpoint).stdout.startswith("CLOCK OK - offset ")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["disk"], 0, "DISK OK - / 42% used, 1.0 GiB available | '/'=42.1053%;80;90;0;100"),
        (["disk", "-w", "20"], 1, "DISK WARNING - / 42% used"),
        (["disk", "-w", "20", "-c", "40"], 2, "DISK CRITICAL - / 42% used"),
        (["disk", "--mount", "/srv"], 3, "DISK UNKNOWN - no filesystem is mounted at /srv"),
        (["load", "-w", "9,0.01,9"], 1, "LOAD WARNING - load for each of 1 CPUs: "),
        (["memory", "-c", "@0:100"], 2, "MEMORY CRITICAL - "),
        (
            ["freeze"],
            2,
            "FREEZE CRITICAL - filesystems frozen for 1000 s, never thaws automatically | 'frozen'=1000s;300;",
        ),
        (["freeze", "-c", "2000"], 1, "FREEZE WARNING - "),
        (["clock"], 2, "CLOCK CRITICAL - offset -"),
        (["all"], 2, "ALL CRITICAL - freeze: filesystems frozen for 1000 s, never thaws automatically; clock: "),
    ],
)
def test_states_by_what_the_guest_says(
    run: Run, scripted: ScriptedAgent, words: list[str], status: int, text: str
) -> None:
    now = ANSWER["time"]
    scripted.answers.update(
        {"metrics": ANSWER, "ping": "1.2.3", "get-freeze-status": {**FROZEN, "since": int(now * 1000) - 1_000_000}}
    )
    result = run("check", *words, scripted.endpoint)
    assert result.stdout.startswith(text), result.stdout
    assert (result.returncode, result.stdout.count("\n"), result.stderr) == (status, 1, "")


def test_a_guest_that_does_not_answer(run: Run, scripted: ScriptedAgent, tmp_path: Path) -> None:
    scripted.answers["ping"] = SILENCE
    for name, status in (("agent", 2), ("all", 2), ("disk", 3)):
        result = run("check", name, scripted.endpoint, "--timeout", "0.5")
        assert (result.returncode, result.stderr) == (status, "")
        assert run("check", name, f"unix:{tmp_path}/none").returncode == status


def test_wrong_usage_is_unknown_because_2_is_critical(run: Run, endpoint: str) -> None:
    for words in (
        ["nonsense", endpoint],
        ["disk"],
        ["disk", endpoint, "-w", "x"],
        ["disk", endpoint, "--nonsense"],
        ["all", endpoint, "-w", "1"],
        ["agent", "no-such-guest"],
        ["agent", f"{endpoint},/x/y"],
    ):
        result = run("check", *words)
        assert (result.returncode, result.stderr) == (3, ""), result.stdout
        assert re.match(r"[A-Z]+ UNKNOWN - ", result.stdout)
        assert result.stdout.count("\n") == 1


def test_a_hostile_guest_forges_no_perfdata_and_no_section(run: Run, scripted: ScriptedAgent) -> None:
    evil = f"/x' | y=1\n<<<<db1>>>>\n{EVIL}"
    filesystem = {**ANSWER["filesystems"][0], "mountpoint": evil}
    scripted.answers.update({"metrics": {**ANSWER, "filesystems": [filesystem] * 2000}, "ping": evil})
    for name in ("disk", "agent"):
        text = run("check", name, scripted.endpoint).stdout
        assert text[:-1].isprintable()
        assert text.count(" | ") == 1
        assert len(text) < 50_000
        data = text[:-1].partition(" | ")[2]
        assert all(PERFDATA.fullmatch(each) for each in re.split(r" (?=')", data))
        text = run("check", name, scripted.endpoint, "--piggyback").stdout
        assert re.findall("^<<<.*", text, re.MULTILINE)[1:] == ["<<<local:sep(0)>>>", "<<<<>>>>"]


def test_the_piggyback_of_checkmk(run: Run, scripted: ScriptedAgent, tmp_path: Path) -> None:
    config = tmp_path / "phoenix" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'sources = []\n[guests]\nweb1 = "{scripted.endpoint}"\n"odd name" = "unix:{tmp_path}/none"\n')
    scripted.answers.update({"metrics": {**ANSWER, "time": time.time()}, "ping": "1.2.3"})
    scripted.answers["get-freeze-status"] = {**FROZEN, "frozen": False}
    result = run("check", "all", "*", "--piggyback", XDG_CONFIG_HOME=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    sections = re.findall(r"<<<<([^>]+)>>>>\n<<<local:sep\(0\)>>>\n(.*?)<<<<>>>>\n", result.stdout, re.DOTALL)
    found = dict(sections)
    assert set(found) == {"web1", "odd_name"}
    assert found["odd_name"].startswith('2 "Phoenix agent" - ')
    lines = found["web1"].splitlines()
    assert [line.split('"')[1] for line in lines] == [
        f"Phoenix {name}" for name in ("agent", "disk", "load", "memory", "freeze", "clock")
    ]
    assert lines[1].startswith('0 "Phoenix disk" root=42.1053;80;90;0;100 / 42% used')
    # STATE "NAME" METRICS TEXT
    metric = r"\w+=-?[\d.e+-]+;[\d.]*;[\d.]*;[\d.]*;[\d.]*"
    for line in lines:
        assert re.fullmatch(rf'[0-3] "Phoenix \w+" ({metric}\|)*{metric} .+', line), line
