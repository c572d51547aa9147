"""`events`: each one is brought about by its real cause, and has the form that is declared."""

from __future__ import annotations

import errno
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.linux import clock_changes
from phoenix_ga.agent.linux.clock_changes import ClockChanges
from phoenix_ga.agent.linux.systemd_bus import END, MANAGER_PATH
from phoenix_ga.agent.operations.events.devices import DeviceProducer, parse_uevent
from phoenix_ga.agent.operations.events.kernel_log import KernelLogProducer, parse_oom_kill, text_of_kernel
from phoenix_ga.agent.operations.events.mounts import MountProducer
from phoenix_ga.agent.operations.events.producers import make_producers
from phoenix_ga.agent.operations.events.services import ServiceProducer
from phoenix_ga.agent.operations.events.sessions import SessionProducer
from phoenix_ga.agent.operations.system import User
from phoenix_ga.wire.events import EVENTS
from tests.agent.fake_systemd import fake_systemd, properties_changed
from tests.agent.loop_devices import Bench
from tests.agent.test_wait_for import OWN_MOUNTS
from tests.ends.client import RESET, WINDOW, RefusedError
from tests.ends.told import Subscription, check_form
from tests.network import ip, ip_batch, new_namespace
from tests.support import AgentProcess, wait_for


@pytest.fixture
def own(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent with a network and mounts of its own."""
    with new_namespace():
        ip("link", "add", "cable", "type", "veth", "peer", "name", "switch")
        ip("link", "set", "cable", "addrgenmode", "none")
        ip("link", "set", "switch", "addrgenmode", "none")
        with AgentProcess(tmp_path, wrapper=("-c", OWN_MOUNTS)) as agent:
            yield agent


def test_the_examples_have_the_declared_form() -> None:
    for event in EVENTS:
        check_form({"event": event.name, "data": event.example, "timestamp": {"seconds": 0, "microseconds": 0}})


@pytest.mark.root
class TestNetwork:
    def test_addresses_are_told_once(self, own: AgentProcess) -> None:
        with own.connect() as client:
            events = Subscription(client, "ADDRESS_ADDED", "ADDRESS_REMOVED")
            ip("address", "add", "192.0.2.10/24", "dev", "cable")
            # The kernel announces it again.
            ip("address", "change", "192.0.2.10/24", "dev", "cable", "valid_lft", "1000", "preferred_lft", "500")
            ip("address", "add", "2001:db8::7/64", "dev", "cable", "nodad")
            ip("address", "del", "192.0.2.10/24", "dev", "cable")
            told = [events.next() for _ in range(3)]
        # The kernel works on IPv6 addresses later.
        assert {(event["event"], event["data"]["ip"], event["data"]["ifname"]) for event in told} == {
            ("ADDRESS_ADDED", "192.0.2.10/24", "cable"),
            ("ADDRESS_ADDED", "2001:db8::7/64", "cable"),
            ("ADDRESS_REMOVED", "192.0.2.10/24", "cable"),
        }
        assert abs(told[0]["timestamp"]["seconds"] - time.time()) < 60

    def test_links_that_come_change_and_go(self, own: AgentProcess) -> None:
        with own.connect() as client:
            events = Subscription(client, "LINK_ADDED", "LINK_CHANGED", "LINK_REMOVED")
            ip("link", "add", "br9", "address", "02:00:00:00:00:09", "type", "bridge")
            added = events.until("LINK_ADDED")
            assert (added["ifname"], added["hwaddr"], added["carrier"]) == ("br9", "02:00:00:00:00:09", False)
            ip("link", "set", "br9", "up")
            assert "up" in events.until("LINK_CHANGED", ifname="br9")["flags"].split("|")
            ip("link", "set", "cable", "up")
            ip("link", "set", "switch", "up")
            assert events.until("LINK_CHANGED", ifname="cable", carrier=True)["index"] > 0
            # The end of a port is not that of its link.
            ip("link", "set", "switch", "master", "br9")
            ip("link", "set", "switch", "nomaster")
            ip("link", "del", "br9")
            assert events.until("LINK_REMOVED")["ifname"] == "br9"

    def test_routes(self, own: AgentProcess) -> None:
        with own.connect() as client:
            events = Subscription(client, "ROUTE_ADDED", "ROUTE_REMOVED")
            ip("link", "set", "cable", "up")
            ip("link", "set", "switch", "up")
            ip("address", "add", "192.0.2.10/24", "dev", "cable")
            assert events.until("ROUTE_ADDED") == {"ifname": "cable", "dst": "192.0.2.0/24", "gateway": ""}
            ip("route", "add", "default", "via", "192.0.2.1")
            assert events.until("ROUTE_ADDED", dst="default")["gateway"] == "192.0.2.1"
            ip("route", "del", "default")
            assert events.until("ROUTE_REMOVED") == {"ifname": "cable", "dst": "default", "gateway": "192.0.2.1"}

    def test_a_flood_stays_bounded_and_is_told_as_lost(self, own: AgentProcess) -> None:
        with own.connect() as client:
            events = Subscription(client, "ADDRESS_ADDED", window=0)
            ip_batch(*(f"address add 10.{n >> 8}.{n & 255}.1/32 dev cable" for n in range(10_000)))
            # More than the kernel's buffer, and the agent's, can hold.
            client.call("ping")
            assert own.memory() < 40_000_000
            client.send_frame(WINDOW, events.stream, (1 << 20).to_bytes(4, "big"))
            ip("address", "add", "192.0.2.10/24", "dev", "cable")
            told: list[dict[str, Any]] = []
            while not told or told[-1]["data"].get("ip") != "192.0.2.10/24":
                told.append(events.next())
            lost = [event["data"] for event in told if event["event"] == "EVENTS_LOST"]
            count = sum(each["count"] for each in lost)
            assert lost
            assert len(told) - len(lost) - 1 + count == 10_000 or any(each["more"] for each in lost)

    def test_what_was_not_sent_of_one_link_becomes_one_event(self, own: AgentProcess) -> None:
        with own.connect() as client:
            events = Subscription(client, "LINK_CHANGED", "ADDRESS_ADDED", window=0)
            for number in range(50):
                ip("link", "set", "cable", "address", f"02:00:00:00:01:{number:02x}")
            ip("address", "add", "192.0.2.10/24", "dev", "cable")
            wait_for(lambda: client.call("ping") != "")
            time.sleep(0.2)
            client.send_frame(WINDOW, events.stream, (1 << 20).to_bytes(4, "big"))
            changed = events.next()["data"]
            assert (changed["ifname"], changed["hwaddr"]) == ("cable", "02:00:00:00:01:31")
            assert events.next()["event"] == "ADDRESS_ADDED"

    def test_quiet_subscribers_wake_nothing_and_leave_nothing_behind(self, own: AgentProcess) -> None:
        def descriptors() -> int:
            return len(os.listdir(f"/proc/{own.process.pid}/fd"))

        # The kernel tells everybody of devices, and of what its log says: others work on this machine.
        noisy = {*DeviceProducer.names, "OOM_KILL", "REMOUNTED", "PRESSURE"}
        names = [event.name for event in EVENTS if not event.by_client and event.name not in noisy]
        with own.connect() as client:
            client.call("ping")
            before = descriptors()
            subscriptions = [Subscription(client, *names) for _ in range(3)]
            assert descriptors() > before
            assert own.comes_to_rest(4)
            for each in subscriptions[:2]:
                client.send_frame(RESET, each.stream, b'{"bufb64": "", "code": 0}')
        wait_for(lambda: descriptors() == before - 1)


@pytest.mark.root
class TestMounts:
    def test_mounts_come_change_and_go(self, agent: AgentProcess, tmp_path: Path) -> None:
        point = tmp_path / "a point"
        point.mkdir()
        with agent.connect() as client:
            events = Subscription(client, "MOUNTED", "UNMOUNTED", "REMOUNTED")
            subprocess.run(["mount", "-t", "tmpfs", "of a test", point], check=True)
            try:
                told = {"mountpoint": str(point), "type": "tmpfs", "source": "of a test"}
                events.until("MOUNTED", **told, read_only=False)
                subprocess.run(["mount", "-o", "remount,ro", point], check=True)
                # Alone, the kernel does not tell of it.
                (tmp_path / "other").mkdir()
                subprocess.run(["mount", "--bind", point, tmp_path / "other"], check=True)
                subprocess.run(["umount", tmp_path / "other"], check=True)
                events.until("REMOUNTED", **told, read_only=True)
            finally:
                subprocess.run(["umount", point], check=True)
            events.until("UNMOUNTED", **told)


class TestDevices:
    def test_what_the_kernel_announces(self) -> None:
        def event(**variables: str) -> dict[str, str]:
            return variables

        told = []
        producer = DeviceProducer()
        producer.source.close()
        block = {"SUBSYSTEM": "block", "DEVTYPE": "disk", "DEVPATH": "/devices/pci0000:00/virtio1/block/vdb"}
        cpu = {"SUBSYSTEM": "cpu", "DEVPATH": "/devices/system/cpu/cpu3"}
        producer.take(
            [
                event(**block, ACTION="add"),
                event(**block, ACTION="change", RESIZE="1"),
                event(**block, ACTION="change"),
                event(**cpu, ACTION="offline"),
                event(SUBSYSTEM="net", ACTION="add", DEVPATH="/devices/virtual/net/eth0"),
                event(**{**block, "DEVTYPE": "partition"}, ACTION="remove"),
            ],
            lambda name, data, key: told.append((name, data["kind"], data["name"], data.get("action"))),
        )
        assert told == [
            ("DEVICE_ADDED", "disk", "vdb", None),
            ("DEVICE_CHANGED", "disk", "vdb", "resize"),
            ("DEVICE_CHANGED", "disk", "vdb", "change"),
            ("DEVICE_CHANGED", "cpu", "cpu3", "offline"),
            ("DEVICE_REMOVED", "partition", "vdb", None),
        ]

    def test_a_uevent_of_any_bytes(self) -> None:
        assert parse_uevent(b"add@/x\0ACTION=add\0DEVNAME=\xff=\n\0rest\0") == {
            "ACTION": "add",
            "DEVNAME": "\udcff=\n",
        }
        assert parse_uevent(b"") == {}

    @pytest.mark.root
    @pytest.mark.programs("losetup")
    def test_a_disk_that_changes(self, agent: AgentProcess, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.write_bytes(bytes(1 << 20))
        with agent.connect() as client:
            events = Subscription(client, "DEVICE_CHANGED")
            made = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
            device = made.stdout.strip()
            try:
                told = events.until("DEVICE_CHANGED", name=device.rpartition("/")[2])
                assert told["kind"] == "disk"
            finally:
                subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.root
def test_an_error_that_makes_a_filesystem_read_only_is_told_once(bench: Bench, tmp_path: Path) -> None:
    point = bench.make(tmp_path / "image", "failing")
    producer = MountProducer()
    producer.source.close()
    name = os.path.basename(
        subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", point], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    (told,) = producer.device_failed(name)
    assert told[0] == "REMOUNTED"
    assert (told[1]["mountpoint"], told[1]["read_only"]) == (str(point), True)
    assert producer.device_failed(name) == producer.device_failed("") == []


def test_the_filesystems_that_say_so() -> None:
    producer = object.__new__(KernelLogProducer)
    producer.failed_devices = []
    lines = [
        "XFS (vdb1): Filesystem has been shut down due to log error (0x2).",
        "BTRFS info (device vdc state E): forced readonly",
        "EXT4-fs (dm-0): Remounting filesystem read-only",
        "EXT4-fs (vdd): mounted filesystem read-only",
    ]
    producer.take(lines, lambda name, data, key: None)
    assert producer.failed_devices == ["vdb1", "vdc", "dm-0"]


class TestKernelLog:
    OOM = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/t,"
        "task_memcg=/t/a,b,task=evil,pid=1,uid=2,pid=4711,uid=1000"
    )

    def test_a_process_that_was_killed(self) -> None:
        assert parse_oom_kill(self.OOM) == {
            "pid": 4711,
            # A process may choose any name.
            "name": "evil,pid=1,uid=2",
            "uid": 1000,
            "cgroup": "/t/a,b",
            "constraint": "cgroup",
        }
        assert parse_oom_kill("oom-kill:constraint=CONSTRAINT_NONE")["constraint"] == "system"

    def test_what_programs_write_to_the_kernels_log_is_not_the_kernels(self) -> None:
        text = b"6,339,5140900,-;oom-kill:x\n SUBSYSTEM=y\n"
        assert text_of_kernel(text) == "oom-kill:x"
        # The facility of programs is 1.
        assert text_of_kernel(b"14" + text[1:]) == ""
        assert text_of_kernel(b"") == text_of_kernel(b"x;y") == ""

    def test_a_filesystem_that_an_error_made_read_only_has_its_mounts_looked_at(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "lseek", lambda *arguments: 0)
        monkeypatch.setattr(os, "open", lambda *arguments: -1)
        producer = KernelLogProducer()
        producer.take(["EXT4-fs (dm-0): Remounting filesystem read-only"], lambda name, data, key: None)
        assert producer.failed_devices == ["dm-0"]


class TestClock:
    def test_by_how_much_it_was_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        changes = ClockChanges()
        try:
            assert changes.read() == ([], False)
            real = clock_changes._offset

            def set_back(fd: int, size: int) -> bytes:
                monkeypatch.undo()
                monkeypatch.setattr(clock_changes, "_offset", lambda: real() - 3_600_000_000_000)
                raise OSError(errno.ECANCELED, "the clock was set")

            monkeypatch.setattr(os, "read", set_back)
            (offset,), more = changes.read()
            assert abs(offset + 3_600_000_000_000) < 50_000_000
            assert not more
        finally:
            changes.close()


class TestServices:
    def test_a_service_that_fails_is_told_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[dict[str, Any]] = []
        with fake_systemd(tmp_path / "private", monkeypatch) as systemd:
            systemd.units.update({"old.service": "failed", "good.service": "active"})
            producer = ServiceProducer()
            try:
                connection = systemd.connections[0]

                def say(unit: str, state: str, **properties: str | int) -> None:
                    # systemd tells what is special to services first.
                    connection.sendall(
                        properties_changed(unit, ReloadResult="success", **properties)
                        + properties_changed(unit, ActiveState=state, SubState="x")
                    )

                def take() -> None:
                    producer.take(producer.source.read()[0], lambda name, data, key: pytest.fail(name))
                    if producer.slow:
                        told.extend(data for _, data in producer.examine())

                say("old.service", "failed", Result="exit-code", ExecMainCode=1, ExecMainStatus=1)
                say("my-app@1.service", "activating", Result="success", ExecMainCode=0, ExecMainStatus=0)
                # systemd restarts it at once.
                systemd.units["tries.service"] = "activating"
                say("tries.service", "failed", Result="exit-code", ExecMainCode=1, ExecMainStatus=1)
                say("tries.service", "activating", Result="success", ExecMainCode=0, ExecMainStatus=0)
                say("srv.mount", "failed", Result="exit-code")
                for _ in range(2):
                    say("my-app@1.service", "failed", Result="exit-code", ExecMainCode=1, ExecMainStatus=3)
                take()
                assert told == [{"unit": "my-app@1.service", "result": "exit-code", "status": 3, "signal": 0}]
                say("my-app@1.service", "active", Result="success", ExecMainCode=0, ExecMainStatus=0)
                say("my-app@1.service", "failed", Result="signal", ExecMainCode=2, ExecMainStatus=9)
                take()
                assert told[1:] == [{"unit": "my-app@1.service", "result": "signal", "status": -1, "signal": 9}]

                systemd.stop_listening()
                producer.take(producer.source.read()[0], lambda name, data, key: told.append(data))
                assert producer.source.lost
                threading.Timer(0.3, systemd.listen).start()
                producer.recover()
                wait_for(lambda: systemd.connections != [])
                connection = systemd.connections[0]
                say("other.service", "failed", Result="timeout", ExecMainCode=2, ExecMainStatus=15)
                take()
                assert told[2:] == [{"unit": "other.service", "result": "timeout", "status": -1, "signal": 15}]
            finally:
                producer.source.close()

    def test_signals_of_any_bytes_are_no_failure(self) -> None:
        producer = object.__new__(ServiceProducer)
        producer._failed, producer._suspects = set(), {}
        path = MANAGER_PATH + b"/unit/a_zz_2eservice\0"
        whole = properties_changed("a.service", ActiveState="failed")
        for message in (b"", END, path, *(whole[:length] for length in range(len(whole) - 7))):
            producer.take([message], lambda name, data, key: pytest.fail(name))
            assert not producer.slow


class TestSessions:
    def test_people_come_and_go(self, tmp_path: Path) -> None:
        sessions = tmp_path / "run/systemd/sessions"
        sessions.mkdir(parents=True)
        producer = SessionProducer(str(tmp_path))

        def logind(number: str, **values: str) -> None:
            # As logind does it.
            (sessions / f".#{number}").write_text("".join(f"{key}={value}\n" for key, value in values.items()))
            (sessions / f".#{number}").rename(sessions / number)

        def told() -> list[tuple[str, dict[str, Any]]]:
            assert select.select([producer.source.fd], [], [], 30)[0]
            assert producer.source.read() == ([], False)
            return producer.examine()

        try:
            assert producer.examine() == []
            logind("1", USER="anna", CLASS="user", STATE="opening", TTY="tty1")
            login = {"user": "anna", "terminal": "tty1", "host": ""}
            assert told() == [("LOGIN", login)]
            logind("1", USER="anna", CLASS="user", STATE="active", TTY="tty1")
            logind("c2", USER="anna", CLASS="manager", STATE="active")
            logind("3", USER="cron", CLASS="background", STATE="active")
            assert told() == []
            # Processes of hers are left.
            logind("1", USER="anna", CLASS="user", STATE="closing", TTY="tty1")
            logind("4", USER="root", CLASS="user-early", STATE="active", TTY="pts/0", REMOTE_HOST="192.0.2.1")
            root = {"user": "root", "terminal": "pts/0", "host": "192.0.2.1"}
            assert told() == [("LOGOUT", login), ("LOGIN", root)]
            (sessions / "4").unlink()
            assert told() == [("LOGOUT", root)]
        finally:
            producer.source.close()

    def test_one_login_that_both_lists_have_is_told_once(self, tmp_path: Path) -> None:
        before = User("anna", "", "192.0.2.1", 1.0, 4711)
        producer = object.__new__(SessionProducer)
        producer._root, producer._users = str(tmp_path), [before]
        (tmp_path / "run").mkdir()
        process = os.getpid()
        (tmp_path / "proc" / str(process)).mkdir(parents=True)
        record = struct.pack(
            "=h2xi32s4s32s256shhiIi16s20x", 7, process, b"pts/3", b"", b"anna", b"192.0.2.1", *[0] * 5, b""
        )
        (tmp_path / "run/utmp").write_bytes(record)
        if os.uname().machine == "x86_64":
            assert producer.examine() == []
            (tmp_path / "run/utmp").write_bytes(b"")
            assert producer.examine() == [("LOGOUT", {"user": "anna", "terminal": "pts/3", "host": "192.0.2.1"})]

    def test_utmp_alone(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        with pytest.raises(OSError, match="keeps no list"):
            SessionProducer(str(tmp_path))
        (tmp_path / "run/utmp").write_bytes(b"")
        producer = SessionProducer(str(tmp_path))
        try:
            with open(tmp_path / "run/utmp", "r+b") as file:
                file.write(bytes(384))
            assert select.select([producer.source.fd], [], [], 30)[0]
        finally:
            producer.source.close()


class TestAgent:
    def test_a_detached_program_that_ends(self, agent: AgentProcess) -> None:
        with agent.connect() as client:
            events = Subscription(client, "PROGRAM_ENDED")
            with agent.connect() as other:
                for argv in (["sh", "-c", "exit 3"], ["sh", "-c", "kill -9 $$"], ["true"]):
                    # One that is not detached tells its own client.
                    other.ask("exec", argv=argv, detach=argv != ["true"])
                told = [events.next()["data"] for _ in range(2)]
            assert sorted((each["argv"][-1], each["status"], each["signal"]) for each in told) == [
                ("exit 3", 3, 0),
                ("kill -9 $$", -1, 9),
            ]

    def test_pressure(self, agent: AgentProcess) -> None:
        if not os.access("/proc/pressure/cpu", os.W_OK):
            pytest.skip("the kernel has no pressure stall information")
        endless = [sys.executable, "-c", "while True: pass"]
        busy = [subprocess.Popen(endless) for _ in range(4 * (os.cpu_count() or 1))]
        try:
            with agent.connect() as client:
                Subscription(client, "PRESSURE").until("PRESSURE", resource="cpu")
        finally:
            for each in busy:
                each.kill()
                each.wait()

    def test_the_answer_identifies_the_agent(self, agent: AgentProcess) -> None:
        with agent.connect() as client:
            first, second = (Subscription(client, "FROZEN").answer for _ in range(2))
            assert (first["agent"], first["boot"]) == (second["agent"], second["boot"])
        agent.stop()
        agent.restart()
        with agent.connect() as client:
            third = Subscription(client, "FROZEN").answer
            assert third["agent"] != first["agent"]
            assert third["boot"] == first["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def test_an_unknown_event_is_refused(self, agent: AgentProcess) -> None:
        with agent.connect() as client:
            for name in ("FLOOD", "CONNECTION_LOST", "\udcff" * 1000):
                with pytest.raises(RefusedError, match="there is no event"):
                    client.call("events", names=[name])

    def test_what_the_guest_cannot_tell_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str, flags: int) -> int:
            raise PermissionError(errno.EPERM, "Operation not permitted", path)

        monkeypatch.setattr(os, "open", refuse)
        made, unavailable = make_producers({"OOM_KILL", "PRESSURE", "TIME_JUMPED"})
        for producer in made:
            producer.source.close()
        assert len(made) == 1
        assert unavailable == [
            {"name": "OOM_KILL", "reason": "Operation not permitted"},
            {"name": "PRESSURE", "reason": "Operation not permitted"},
        ]
