"""`phoenixctl snapshot` with a real QEMU, which runs no guest, and an agent that is a script."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.monitor import Monitor
from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from phoenix_ga.wire.messages import Request
from tests.cli.test_frozen import FreezingAgent, FreezingHost
from tests.support import wait_for

pytestmark = pytest.mark.programs("qemu-img", "qemu-system-x86_64")

NOT_HELD = 123


def listens(path: Path) -> bool:
    """Return whether a socket listens: QEMU binds it first."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    # Flags, see __SO_ACCEPTCON in linux/net.h.
    return any(line.endswith(f" {path}") and line.split()[3] == "00010000" for line in lines)


class Emulator:
    """A QEMU whose processors never run, with three disks and a CD drive; `path` is its monitor for phoenixctl."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "qmp"
        self.disks = {"raw": directory / "raw.img", "qcow": directory / "qcow.img", "fixed": directory / "fixed.img"}
        words = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-machine", "q35,accel=tcg"]
        for name, image in self.disks.items():
            kind = "qcow2" if name == "qcow" else "raw"
            subprocess.run(["qemu-img", "create", "-q", "-f", kind, image, "16M"], check=True)
            only = ",readonly=on" if name == "fixed" else ""
            words += ["-drive", f"if=none,id={name},file={image},format={kind}{only}"]
            words += ["-device", f"virtio-blk-pci,drive={name},id=device-{name}"]
        words += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd"]
        for name in ("qmp", "own"):
            words += ["-qmp", f"unix:{directory}/{name},server=on,wait=off"]
        self.process = subprocess.Popen(words)
        try:
            # The last socket that it makes.
            wait_for(lambda: listens(directory / "own") or self.process.poll() is not None)
            self.monitor = Monitor(directory / "own")
        except BaseException:
            self._end()
            raise

    def files(self) -> dict[str, str]:
        """Return the files to which the disks write."""
        blocks = [block for block in self.monitor.execute("query-block") if "inserted" in block]
        return {block["device"]: block["inserted"]["file"] for block in blocks}

    def blocks(self) -> Any:
        return {block["device"]: block.get("inserted") for block in self.monitor.execute("query-block")}

    def nodes(self) -> set[str]:
        names = (node["node-name"] for node in self.monitor.execute("query-named-block-nodes"))
        return {name for name in names if name.startswith("phoenix")}

    def close(self) -> None:
        self.monitor.close()
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    directory = tmp_path / "qemu"
    directory.mkdir()
    emulator = Emulator(directory)
    yield emulator
    emulator.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FreezingHost]:
    host = FreezingHost(tmp_path)
    yield host
    for script in host.scripts.values():
        script.__exit__()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_external_snapshots_of_all_writable_disks(host: FreezingHost, emulator: Emulator, target: Path) -> None:
    agent = host.freezing("a")
    result = host.run("--json", "snapshot", "--qmp", emulator.path, "--external", target, "--name", "n", "a")
    assert result.returncode == 0, result.stderr
    manifest = json.loads(result.stdout)
    assert (manifest["verdict"], manifest["kind"]) == ("consistent", "external")
    guest = manifest["guests"]["a"]
    assert guest["disks"] == [
        {
            "disk": name,
            "source": str(emulator.disks[name]),
            "size": 16 << 20,
            "file": str(target / f"n-a-{name}.qcow2"),
            "incremental": False,
        }
        for name in ("raw", "qcow")
    ]
    assert guest["skipped"] == [
        {"disk": "fixed", "reason": "read-only"},
        {"disk": "cd", "reason": "no medium"},
    ]
    assert (guest["generation"], guest["filesystems"], guest["blocked"]) == ("0a", ["/"], 1234)
    assert json.loads((target / "n.json").read_text())["verdict"] == "consistent"
    assert emulator.files() == {
        "raw": str(target / "n-a-raw.qcow2"),
        "qcow": str(target / "n-a-qcow.qcow2"),
        "fixed": str(emulator.disks["fixed"]),
    }
    assert agent.thaws == ["0a"]
    again = host.run("snapshot", "--qmp", emulator.path, "--external", target, "--name", "n", "a")
    assert again.returncode == 1
    assert "exists already; choose another --name" in again.stderr
    assert (target / "n.json").exists()


@pytest.mark.parametrize("how", ["external", "internal", "backup"])
def test_a_snapshot_is_removed_if_the_freeze_did_not_hold(
    host: FreezingHost, emulator: Emulator, target: Path, how: str
) -> None:
    agent = host.freezing("a")
    agent.thaw = CommandError("the freeze did not hold: its time limit was reached", 116)
    before = emulator.files()
    words = [f"--{how}"] + [str(target)] * (how != "internal") + ["--bitmap", "daily"] * (how == "backup")
    result = host.run("snapshot", "--qmp", emulator.path, *words, "--disk", "qcow", "--name", "n", "a")
    assert result.returncode == NOT_HELD
    assert result.stderr == (
        "phoenixctl: a: the freeze did not hold: its time limit was reached; no snapshot is left\n"
    )
    assert emulator.files() == before
    assert emulator.nodes() == set()
    assert emulator.monitor.execute("query-jobs") == []
    assert list(target.iterdir()) == []
    inserted = emulator.blocks()["qcow"]
    assert not inserted.get("dirty-bitmaps")
    assert not inserted["image"].get("snapshots")


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        # It never answers.
        ({"freeze": SILENCE}, "no answer"),
        ({"thaw": SILENCE}, "nobody can tell whether the freeze held"),
        ({"thaw": HANG_UP}, "nobody can tell whether the freeze held"),
        # It says that it is frozen, and is not.
        ({"freeze": {"generation": "", "filesystems": [], "skipped": []}}, "nothing can be frozen"),
        ({"status": {"frozen": False}}, "now says that it is not"),
        ({"status": {"generation": "other"}}, "now says that it is not"),
        # It says that it thaws only now, and did before.
        ({"thaw": True}, "now says that it did not"),
    ],
    ids=str,
)
def test_no_snapshot_is_left_of_a_guest_that_lies(
    host: FreezingHost, emulator: Emulator, target: Path, lie: dict[str, Any], told: str
) -> None:
    agent = host.freezing("a")
    vars(agent).update(lie)
    before = emulator.files()
    words = ("--timeout", 1, "snapshot", "--qmp", emulator.path, "--external", target, "--name", "n", "a")
    result = host.run(*words)
    assert result.returncode not in (0, 2)
    assert told in result.stderr
    assert emulator.files() == before
    assert list(target.iterdir()) == []


def test_a_snapshot_on_a_snapshot_is_removed_alone(host: FreezingHost, emulator: Emulator, target: Path) -> None:
    agent = host.freezing("a")
    words = ("snapshot", "--qmp", emulator.path, "--external", target, "--disk", "raw", "--name")
    assert host.run(*words, "one", "a").returncode == 0
    emulator.monitor.execute("human-monitor-command", {"command-line": 'qemu-io raw "write -P 7 0 64k"'})
    during = emulator.files()
    agent.thaw = CommandError("the freeze did not hold: its time limit was reached", 116)
    assert host.run(*words, "two", "a").returncode == NOT_HELD
    assert emulator.files() == during
    assert sorted(path.name for path in target.iterdir()) == ["one-a-raw.qcow2", "one.json"]
    # The base of the first one has not changed.
    assert emulator.disks["raw"].read_bytes().count(b"\7") == 0


def test_internal_snapshots(host: FreezingHost, emulator: Emulator) -> None:
    host.freezing("a")
    result = host.run("snapshot", "--qmp", emulator.path, "--internal", "--name", "n", "a")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "snapshot n: consistent\na: writers stood still for 1.234 s\na: qcow (16.0 MiB)\n"
        "a: raw skipped: raw images have no internal snapshots\na: fixed skipped: read-only\n"
        "a: cd skipped: no medium\n"
    )
    names = [each["name"] for each in emulator.blocks()["qcow"]["image"]["snapshots"]]
    assert names == ["n"]


def test_backups_are_incremental_with_a_bitmap(host: FreezingHost, emulator: Emulator, target: Path) -> None:
    host.freezing("a")

    def write(pattern: int, offset: str) -> None:
        words = f'qemu-io raw "write -P {pattern} {offset} 64k"'
        emulator.monitor.execute("human-monitor-command", {"command-line": words})

    write(1, "0")
    words = ("--json", "snapshot", "--qmp", emulator.path, "--disk", "raw", "--backup", target, "--bitmap", "daily")
    for name, incremental in (("full", False), ("more", True)):
        result = host.run(*words, "--name", name, "a")
        assert result.returncode == 0, result.stderr
        (disk,) = json.loads(result.stdout)["guests"]["a"]["disks"]
        assert disk["incremental"] is incremental
        write(2, "1M")
    full, more = target / "full-a-raw.qcow2", target / "more-a-raw.qcow2"
    # As docs/backup.md says.
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", full, more], check=True)
    for path, second in ((full, b"\0"), (more, b"\2")):
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, target / "out"], check=True)
        data = (target / "out").read_bytes()
        assert data[: 64 << 10] == b"\1" * (64 << 10)
        assert data[1 << 20 : (1 << 20) + (64 << 10)] == second * (64 << 10)
    assert emulator.nodes() == set()
    assert emulator.monitor.execute("query-jobs") == []


def test_without_a_freeze_it_says_crash_consistent(host: FreezingHost, emulator: Emulator, target: Path) -> None:
    agent = host.freezing("a")
    result = host.run("snapshot", "--qmp", emulator.path, "--external", target, "--no-freeze", "a")
    assert result.returncode == 0, result.stderr
    assert "crash-consistent" in result.stdout
    assert not agent.thaws


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--internal", "--disk", "raw"], 1, "'raw': raw images have no internal snapshots"),
        (["--internal", "--disk", "nothing"], 1, "has no writable disk 'nothing'; it has: qcow"),
        (["--internal", "--external", "/tmp"], 2, "Give one of"),
        (["--internal", "--bitmap", "x"], 2, "goes with --backup"),
        (["--external", "/nowhere"], 2, "is not a directory"),
        (["--internal", "--name", "../x"], 2, "cannot be a name"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_freeze(
    host: FreezingHost, emulator: Emulator, words: list[str], status: int, told: str
) -> None:
    agent = host.freezing("a")
    result = host.run("snapshot", "--qmp", emulator.path, *words, "a")
    assert result.returncode == status
    assert told in result.stderr
    assert not agent.thaws


def test_a_guest_that_cannot_be_frozen_is_not_snapshotted(
    host: FreezingHost, emulator: Emulator, target: Path
) -> None:
    agent = host.freezing("a")
    agent.freeze = CommandError("a hook failed", 10)
    before = emulator.files()
    result = host.run("snapshot", "--qmp", emulator.path, "--backup", target, "a")
    assert result.returncode == 1
    assert "a: a hook failed" in result.stderr
    assert emulator.files() == before
    assert emulator.nodes() == set()
    assert list(target.iterdir()) == []


def test_qemu_refuses_and_the_guest_is_thawed(host: FreezingHost, emulator: Emulator, target: Path) -> None:
    agent = host.freezing("a")
    before = emulator.files()

    def freeze(request: Request) -> Any:
        # As if another program were faster.
        (target / "n-a-qcow.qcow2").mkdir()
        return FreezingAgent.fs_freeze(agent, request)

    host.scripts["a"].answers["fs-freeze"] = freeze
    result = host.run("snapshot", "--qmp", emulator.path, "--external", target, "--name", "n", "a")
    assert result.returncode == 1
    assert "QEMU: transaction" in result.stderr
    assert agent.thaws == ["0a"]
    assert emulator.files() == before
    assert not (target / "n.json").exists()


class LosingMonitor:
    """A monitor between phoenixctl and that of QEMU, which ends when QEMU has got a transaction."""

    def __init__(self, path: Path, real: Path) -> None:
        self._real = real
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as qemu:
                qemu.connect(str(self._real))
                self._relay(client, qemu)

    @staticmethod
    def _relay(client: socket.socket, qemu: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                for each in select.select([client, qemu], [], [])[0]:
                    data = each.recv(65536)
                    if not data:
                        return
                    (qemu if each is client else client).sendall(data)
                    if each is client and b'"transaction"' in data:
                        # QEMU answers, and nobody reads it.
                        qemu.recv(65536)
                        return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.mark.parametrize("how", ["external", "backup"])
def test_a_snapshot_whose_answer_is_lost_is_told(
    host: FreezingHost, emulator: Emulator, target: Path, tmp_path: Path, how: str
) -> None:
    agent = host.freezing("a")
    before = emulator.files()
    monitor = LosingMonitor(tmp_path / "losing", emulator.path)
    try:
        result = host.run("snapshot", "--qmp", tmp_path / "losing", f"--{how}", target, "--name", "n", "a")
    finally:
        monitor.close()
    assert result.returncode == 1
    assert agent.thaws == ["0a"]
    if how == "external":
        assert emulator.files() != before
    # It may have been made, so the manifest stays, with a line about what is to be removed.
    assert json.loads((target / "n.json").read_text())["verdict"] == "unfinished"
    assert f"cannot remove the snapshot n {target}/n-a-raw.qcow2" in result.stderr


@pytest.mark.parametrize("how", ["external", "internal", "backup"])
def test_nothing_is_left_of_a_transaction_that_qemu_refuses(
    host: FreezingHost, emulator: Emulator, target: Path, how: str
) -> None:
    agent = host.freezing("a")
    before = emulator.files()
    words = {"external": ("--external", target), "internal": ("--internal",), "backup": ("--backup", target)}[how]

    def freeze(request: Request) -> Any:
        # Something else is going on with the last disk.
        job = {"job-id": "busy", "device": "qcow", "target": "busy", "sync": "full", "speed": 1}
        emulator.monitor.execute("blockdev-add", {"driver": "null-co", "node-name": "busy", "size": 16 << 20})
        emulator.monitor.execute("blockdev-backup", job)
        return FreezingAgent.fs_freeze(agent, request)

    host.scripts["a"].answers["fs-freeze"] = freeze
    result = host.run("snapshot", "--qmp", emulator.path, *words, "--name", "n", "a")
    if result.returncode == 0:
        pytest.skip("this QEMU does it nevertheless")
    assert "QEMU: transaction" in result.stderr
    assert "cannot remove" not in result.stderr
    assert (emulator.files(), list(target.iterdir()), emulator.nodes()) == (before, [], set())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_snapshot_is_removed_or_told(
    host: FreezingHost, emulator: Emulator, target: Path, number: signal.Signals
) -> None:
    agent = host.freezing("a")
    before = emulator.files()
    # Nothing answers the thaw, so there is time.
    agent.thaw = CommandError("busy", 16)
    process = host.start("snapshot", "--qmp", emulator.path, "--external", target, "--name", "n", "a")
    wait_for(lambda: bool(agent.thaws))
    assert emulator.files() != before
    # Killed now, nobody removes the new files; the manifest tells of them.
    assert json.loads((target / "n.json").read_text())["verdict"] == "unfinished"
    process.send_signal(number)
    if number == signal.SIGTERM:
        agent.thaw = None
        time.sleep(0.1)
    process.communicate(timeout=50)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert emulator.files() == before
        assert list(target.iterdir()) == []
    else:
        files = {each["file"] for each in json.loads((target / "n.json").read_text())["guests"]["a"]["disks"]}
        assert set(emulator.files().values()) - set(before.values()) <= files


def test_a_monitor_that_another_client_has_is_told_before_the_freeze(
    host: FreezingHost, emulator: Emulator, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = host.freezing("a")
    result = host.run("snapshot", "--qmp", target / "nothing", "--external", target, "a")
    assert result.returncode == 1
    assert "cannot connect to QEMU's monitor" in result.stderr
    assert not agent.thaws
    result = host.run("snapshot", "--external", target, "a")
    assert result.returncode == 1
    assert "give one with --qmp" in result.stderr
