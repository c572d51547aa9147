"""`phoenixctl metrics`, compared with Prometheus' own programs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.ends.agent import ScriptedAgent
from tests.support import AgentProcess, wait_for

EVIL = '\x1b]0;owned\x07\n"} 1\\\u202e\udc80'
ANSWER: dict[str, Any] = BY_NAME["metrics"].examples[0].answer
# The noise between two readings of these.
COMPARED = {
    "node_boot_time_seconds": 2.0,
    "node_memory_MemTotal_bytes": 0.0,
    "node_memory_SwapTotal_bytes": 0.0,
    "node_vmstat_oom_kill": 0.0,
    "node_time_seconds": 60.0,
    "node_uname_info": 0.0,
    "node_os_info": 0.0,
    "node_os_version": 0.0,
}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with AgentProcess(tmp_path) as agent:
        yield f"unix:{agent.socket_path}"


def samples(text: str) -> dict[str, float]:
    """Return the samples of an exposition by name and labels, the labels in their order."""
    found = {}
    for line in text.splitlines():
        if line and line[0] != "#":
            series, _, value = line.rpartition(" ")
            assert series not in found, series
            found[series] = float(value)
    return found


def test_a_table_for_people_and_json_for_programs(run: Run, endpoint: str) -> None:
    text = run("metrics", endpoint)
    assert (text.returncode, text.stderr) == (0, "")
    assert re.search(r"^  cpus +\d+, user [\d.]+%,.* idle [\d.]+%$", text.stdout, re.MULTILINE)
    assert [line for line in text.stdout.splitlines() if line[0] != " "][-2:] == ["Filesystems", "Network"]
    value = json.loads(run("--json", "metrics", endpoint).stdout)
    assert value["kernel"]["system"] == "Linux"
    assert value["memory"]["MemTotal"] > value["memory"]["MemFree"] > 0
    assert value["interfaces"][0]["counts"]["rx_bytes"] >= 0


def test_the_formats_of_prometheus(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["metrics"] = ANSWER
    text = run("metrics", "--prometheus", scripted.endpoint).stdout
    assert "# TYPE node_cpu_seconds_total counter\n" in text
    assert "# TYPE node_vmstat_oom_kill untyped\n" in text
    found = samples(text)
    assert found['node_cpu_seconds_total{cpu="0",mode="user"}'] == 300
    assert found['node_disk_read_bytes_total{device="vda"}'] == 1400000 * 512
    assert found['node_disk_io_time_seconds_total{device="vda"}'] == 40
    assert found['node_filesystem_avail_bytes{device="/dev/vda1",fstype="ext4",mountpoint="/"}'] == 1126400000
    assert found["node_pressure_cpu_waiting_seconds_total"] == 12
    assert not any(name.startswith("node_pressure_memory") for name in found)
    opened = run("metrics", "--openmetrics", scripted.endpoint).stdout
    assert "# TYPE node_cpu_seconds counter\n" in opened
    assert "# TYPE node_vmstat_oom_kill unknown\n" in opened
    assert opened.endswith("\n# EOF\n")
    assert samples(opened) == found


def test_what_a_hostile_guest_says_is_bounded_and_quoted(run: Run, scripted: ScriptedAgent) -> None:
    filesystem = {**ANSWER["filesystems"][0], "mountpoint": "/" + EVIL, "source": "y" * 100_000}
    scripted.answers["metrics"] = {
        **ANSWER,
        "time": 1e308,
        "boot_time": -(2**63),
        "uname": dict.fromkeys(ANSWER["uname"], EVIL),
        "os": {EVIL: EVIL, "id": EVIL, "version_id": "9" * 1000},
        "memory": {EVIL: 1, "MemTotal": 2**63, "Forged": 1},
        "vmstat": {EVIL: 1, "pgfault": -1},
        "pressure": {EVIL: {EVIL: {EVIL: 1}}},
        "disks": [{"name": f"sd{EVIL}{number}", "reads": 1} for number in range(20_000)],
        "filesystems": [filesystem, {**filesystem, "size": 1}],
    }
    for form in ("--prometheus", "--openmetrics"):
        result = run("metrics", form, scripted.endpoint)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.replace("\n", "").isprintable()
        names = {re.split(r"[{ ]", series)[0] for series in samples(result.stdout)}
        assert all(re.fullmatch(r"node_[a-zA-Z0-9_]+", name) for name in names)
        assert "Forged" not in result.stdout
        assert result.stdout.count("node_disk_reads_completed_total{") == 10_000
        assert "y" * 256 in result.stdout
        assert "y" * 257 not in result.stdout
    for words in (["metrics"], ["--json", "metrics"]):
        result = run(*words, scripted.endpoint)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.replace("\n", "").isprintable()


def test_usage(run: Run, scripted: ScriptedAgent) -> None:
    for words in (["--json", "metrics", "--prometheus", scripted.endpoint], ["metrics", "--openmetrics", "a,b"]):
        result = run(*words)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1


@pytest.mark.programs("promtool")
def test_promtool_reads_it(run: Run, endpoint: str) -> None:
    text = run("metrics", "--prometheus", endpoint).stdout
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    complaints = (result.stdout + result.stderr).splitlines()
    # node_exporter itself spells them so.
    assert all(
        line.startswith("node_memory_") and line.endswith("'snake_case' not 'camelCase'") for line in complaints
    ), complaints


@pytest.mark.programs("prometheus-node-exporter")
def test_names_labels_types_and_texts_are_those_of_node_exporter(run: Run, endpoint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    # Debian leaves out more than upstream, whose rule is ours.
    options = [
        f"--web.listen-address={address}",
        "--collector.netdev.device-exclude=^$",
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|"
        "var/lib/containers/storage/.+)($|/)",
    ]
    theirs = ""

    def answers() -> bool:
        nonlocal theirs
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as response:
                theirs = response.read().decode()
        except OSError:
            return False
        return True

    process = subprocess.Popen(["prometheus-node-exporter", *options], stderr=subprocess.DEVNULL)
    try:
        wait_for(answers)
        ours = run("metrics", "--prometheus", endpoint).stdout
    finally:
        process.kill()
        process.wait()
    described = {line for line in theirs.splitlines() if line.startswith("# ")}
    assert [line for line in ours.splitlines() if line.startswith("# ") and line not in described] == []
    their_samples = samples(theirs)
    # Mounts come and go while other tests run.
    lost = {series for series in samples(ours) if series not in their_samples and "mountpoint" not in series}
    assert lost == set()
    root = {series for series in samples(ours) if 'mountpoint="/"' in series}
    assert len(root) == 7
    assert root <= set(their_samples)
    for series, value in samples(ours).items():
        noise = COMPARED.get(series.partition("{")[0])
        if noise is not None:
            assert abs(value - their_samples[series]) <= noise, series
        elif series.partition("{")[0].endswith("_total"):
            assert value >= 0.99 * their_samples.get(series, 0), series
