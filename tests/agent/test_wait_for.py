"""`wait-for`: each condition is brought about by its real cause, in a network and with files of the test's own."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.linux import systemd_bus
from phoenix_ga.agent.linux.rtnetlink import Link
from phoenix_ga.agent.operations.network import container_links
from phoenix_ga.agent.operations.waiting.condition import Facts
from phoenix_ga.agent.operations.waiting.waiting import Waiting, parse_condition
from tests.agent.fake_systemd import FakeSystemd, fake_systemd, signal
from tests.ends.client import LineClient, RefusedError
from tests.ends.told import Wait
from tests.network import ip, new_namespace
from tests.support import AgentProcess, wait_for

# Others of this machine may mount filesystems meanwhile, which the kernel tells all in the same namespace.
OWN_MOUNTS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == libc.mount(None, b"/", None, 0x44000, None) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"""


def found(client: LineClient, condition: str) -> str:
    """Return what is found for a condition, once it is."""
    wait = Wait(client, condition)
    first = wait.next()
    assert first is not None
    assert wait.next() is None
    return first[1]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent in a network namespace, with links of a kind that no container has, whose cable is a veth."""
    with new_namespace():
        ip("link", "add", "cable", "type", "veth", "peer", "name", "switch")
        for number in (7, 8):
            address = f"02:00:00:00:00:0{number}"
            ip("link", "add", "link", "cable", "name", f"eth{number}", "address", address, "type", "macvlan")
        for name in ("cable", "switch", "eth7", "eth8"):
            # Nothing is to happen but what the tests do.
            ip("link", "set", name, "addrgenmode", "none")
            ip("link", "set", name, "up")
        with AgentProcess(tmp_path, wrapper=("-c", OWN_MOUNTS)) as agent:
            yield agent


@pytest.mark.root
class TestNetwork:
    def test_an_address_ends_the_wait_for_it(self, network: AgentProcess) -> None:
        with network.connect() as client:
            wait = Wait(client, "address", "address=4", "address=6", "address,mac=02:00:00:00:00:07")
            ip("address", "add", "127.0.0.5/8", "dev", "lo")
            ip("address", "add", "169.254.7.7/16", "dev", "eth7", "scope", "link")
            ip("address", "add", "192.0.2.10/24", "dev", "eth7")
            assert sorted([wait.next(), wait.next(), wait.next()]) == [  # type: ignore[type-var]
                (0, "192.0.2.10"),
                (1, "192.0.2.10"),
                (3, "192.0.2.10"),
            ]
            ip("address", "add", "2001:db8::7/64", "dev", "eth7", "nodad")
            assert (wait.next(), wait.next()) == ((2, "2001:db8::7"), None)

    def test_one_that_is_there_is_found_at_once(self, network: AgentProcess) -> None:
        ip("address", "add", "192.0.2.10/24", "dev", "eth7")
        with network.connect() as client:
            wait = Wait(client, "address,cidr=198.51.100.0/24", "address,dev=eth7", any=True)
            assert (wait.next(), wait.next()) == ((1, "192.0.2.10"), None)

    def test_containers_addresses_do_not_count_unless_they_are_named(self, network: AgentProcess) -> None:
        with network.connect() as client:
            ip("link", "add", "like-docker", "type", "bridge")
            ip("link", "add", "inside", "type", "veth", "peer", "name", "outside")
            ip("link", "set", "outside", "master", "like-docker")
            wait = Wait(client, "address=4", "address=4,dev=like-docker", "address,cidr=172.17.0.0/16")
            ip("address", "add", "172.17.0.1/16", "dev", "like-docker")
            assert {wait.next(), wait.next()} == {(1, "172.17.0.1"), (2, "172.17.0.1")}
            # The same bridge over a link that is none of a container is the guest's own network.
            ip("link", "set", "eth7", "master", "like-docker")
            assert wait.next() == (0, "172.17.0.1")
            assert wait.next() is None
            kinds = {each["name"]: (each["kind"], each["container"]) for each in client.call("get-netifaces")}
            assert (kinds["lo"], kinds["eth7"]) == (("", False), ("macvlan", False))
            assert (kinds["like-docker"], kinds["outside"]) == (("bridge", False), ("veth", True))

    def test_the_address_of_the_default_route_is_the_first(self, network: AgentProcess) -> None:
        ip("address", "add", "192.0.2.10/24", "dev", "eth7")
        ip("address", "add", "198.51.100.8/24", "dev", "eth8")
        with network.connect() as client:
            assert found(client, "address") == "192.0.2.10"
            wait = Wait(client, "route=4", "route=6", any=True)
            ip("route", "add", "default", "via", "198.51.100.1")
            assert wait.next() == (0, "default via 198.51.100.1 dev eth8")
            assert wait.next() is None
            assert found(client, "address") == "198.51.100.8"

    def test_a_socket_that_begins_to_listen(self, network: AgentProcess) -> None:
        ip("link", "set", "lo", "up")
        with network.connect() as client:
            wait = Wait(client, "port=4711", "port=127.0.0.2:4711", "port=[::1]:4711")
            with socket.create_server(("127.0.0.1", 4711)):
                assert wait.next() == (0, "127.0.0.1:4711")
            with socket.create_server(("::", 4711), family=socket.AF_INET6, dualstack_ipv6=True):
                assert {wait.next(), wait.next()} == {(1, "[::]:4711"), (2, "[::]:4711")}
            assert wait.next() is None

    def test_a_flood_of_addresses_is_not_too_much(self, network: AgentProcess) -> None:
        with network.connect() as client:
            wait = Wait(client, "address,cidr=203.0.113.7/32")
            lines = [f"address add 10.{n >> 8}.{n & 255}.1/32 dev eth7\n" for n in range(3000)]
            lines.append("address add 203.0.113.7/32 dev eth7\n")
            subprocess.run(["ip", "-batch", "-"], input="".join(lines), text=True, check=True)
            assert wait.next() == (0, "203.0.113.7")
            assert network.memory() < 40_000_000

    def test_a_thousand_conditions_wake_nothing(self, network: AgentProcess, tmp_path: Path) -> None:
        with network.connect() as client:
            addresses = [f"address,cidr=10.0.{n}.0/24" for n in range(200)]
            routes = ["route=4", "route=6"] * 100
            for _ in range(2):
                Wait(client, *addresses, *routes)
                Wait(client, *(f"path={tmp_path}/missing/{n}/file" for n in range(100)))
            assert network.comes_to_rest(5)

    def test_a_client_that_leaves_or_waits_no_longer_leaves_nothing_behind(
        self, network: AgentProcess, tmp_path: Path
    ) -> None:
        def descriptors() -> int:
            return len(os.listdir(f"/proc/{network.process.pid}/fd"))

        with network.connect() as client:
            client.call("ping")
            before = descriptors()
            wait = Wait(client, "address", f"path={tmp_path}/never", "port=1", "load<0.0")
            assert descriptors() > before
            wait.cancel()
            wait_for(lambda: descriptors() == before)
            Wait(client, "address", f"path={tmp_path}/never", "port=1", "load<0.0")
        wait_for(lambda: descriptors() == before - 1)
        assert network.comes_to_rest(1)


class TestPaths:
    def test_directories_that_appear_one_after_the_other(self, agent: AgentProcess, tmp_path: Path) -> None:
        with agent.connect() as client:
            wait = Wait(client, f"path={tmp_path}/a/b/c", f"path={tmp_path}/link")
            for name in ("a", "a/b"):
                (tmp_path / name).mkdir()
                time.sleep(0.1)
            (tmp_path / "a/b/c").touch()
            assert wait.next() == (0, f"{tmp_path}/a/b/c")
            (tmp_path / "link").symlink_to("nowhere")
            assert (wait.next(), wait.next()) == ((1, f"{tmp_path}/link"), None)

    def test_a_tree_that_is_moved_into_place(self, agent: AgentProcess, tmp_path: Path) -> None:
        (tmp_path / "new/b").mkdir(parents=True)
        (tmp_path / "new/b/c").touch()
        with agent.connect() as client:
            wait = Wait(client, f"path={tmp_path}/a/b/c")
            (tmp_path / "new").rename(tmp_path / "a")
            assert wait.next() == (0, f"{tmp_path}/a/b/c")

    def test_absence_of_a_file_and_of_what_it_is_in(self, agent: AgentProcess, tmp_path: Path) -> None:
        (tmp_path / "a/b").mkdir(parents=True)
        for name in ("a/b/c", "a/b/d", "a/b/e"):
            (tmp_path / name).touch()
        with agent.connect() as client:
            wait = Wait(client, *(f"path={tmp_path}/a/b/{name},absent" for name in "cde"))
            (tmp_path / "a/b/c").unlink()
            assert wait.next() == (0, f"{tmp_path}/a/b/c")
            (tmp_path / "a").rename(tmp_path / "elsewhere")
            assert {wait.next(), wait.next()} == {(1, f"{tmp_path}/a/b/d"), (2, f"{tmp_path}/a/b/e")}

    @pytest.mark.root
    def test_a_filesystem_that_is_mounted_brings_its_files(self, agent: AgentProcess, tmp_path: Path) -> None:
        source, point = tmp_path / "source", tmp_path / "point"
        source.mkdir()
        point.mkdir()
        (source / "file").touch()
        with agent.connect() as client:
            wait = Wait(client, f"path={point}/file")
            subprocess.run(["mount", "--bind", source, point], check=True)
            try:
                assert (wait.next(), wait.next()) == ((0, f"{point}/file"), None)
                wait = Wait(client, f"path={point}/file,absent")
            finally:
                subprocess.run(["umount", point], check=True)
            assert wait.next() == (0, f"{point}/file")

    def test_the_kernels_own_files_are_looked_at_periodically(self, agent: AgentProcess) -> None:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        with agent.connect() as client:
            wait = Wait(client, f"path=/proc/{child.pid},absent")
            child.kill()
            child.wait()
            assert wait.next() == (0, f"/proc/{child.pid}")

    def test_a_path_of_any_bytes(self, agent: AgentProcess, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/\xff,absent\n"
        with agent.connect() as client:
            wait = Wait(client, "path=" + os.fsdecode(path))
            open(path, "w").close()
            assert wait.next() == (0, os.fsdecode(path))

    def test_without_an_inotify_instance_paths_are_looked_at_periodically(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> int:
            raise OSError(errno.EMFILE, "the kernel has no inotify instance left")

        monkeypatch.setattr("phoenix_ga.agent.linux.inotify.inotify_init", fail)
        waiting = Waiting([f"path={tmp_path}/file"])
        try:
            assert waiting.check({0}) == ([], set())
            assert waiting.period == 2.0
            (tmp_path / "file").touch()
            assert waiting.check({0})[0] == [(0, f"{tmp_path}/file")]
        finally:
            waiting.close()


def test_the_load_average(agent: AgentProcess) -> None:
    with agent.connect() as client:
        wait = Wait(client, "load<0.0", "load<100000", any=True)
        index, found = wait.next() or (None, "")
        assert index == 1
        assert float(found) >= 0
        assert wait.next() is None


@pytest.mark.root
def test_pressure_is_reported_by_the_kernel(agent: AgentProcess) -> None:
    if not os.path.exists("/proc/pressure/cpu"):
        pytest.skip("the kernel has no pressure stall information")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        with agent.connect() as client:
            assert found(client, "pressure=cpu,some,20/2000") == "cpu some 20/2000"
    finally:
        for each in busy:
            each.kill()
            each.wait()


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "expected one of"),
        ("addresses", "expected one of"),
        ("address=5", "the family is 4 or 6"),
        ("address,vlan=5", "the options are"),
        ("address,dev", "the options are"),
        ("address,cidr=1.2.3", "no IPv4 or IPv6 address"),
        ("route=x", "the family is 4 or 6"),
        ("port=0", "a number from 1"),
        ("port=65536", "a number from 1"),
        ("port=" + "9" * 5000, "a number from 1"),
        ("port=::1", "no IPv4"),
        ("path=relative", "must be absolute"),
        ("path", "must be absolute"),
        ("load=3", "expected one of"),
        ("load<", "is a number"),
        ("load<nan", "is a number"),
        ("path<3", "expected one of"),
        ("pressure=disk", "expected cpu, io or memory"),
        ("pressure=cpu,100", "expected cpu, io or memory"),
        ("pressure=cpu,1/1", "for such a window"),
        ("unit=", "the name of a unit"),
        ("boot-complete=yes", "takes no value"),
    ],
)
def test_malformed_conditions_are_refused(condition: str, why: str) -> None:
    with pytest.raises(OSError, match=why) as refused:
        Waiting(["path=/never", condition])
    assert refused.value.errno in (errno.EINVAL, errno.ENOENT)


def test_no_condition_and_too_many_are_refused(agent: AgentProcess) -> None:
    with agent.connect() as client:
        for conditions in ([], ["route"] * 1025):
            with pytest.raises(RefusedError, match="from 1 to 1024 conditions"):
                client.call("wait-for", conditions=conditions)


def test_a_guest_without_systemd_says_so(agent: AgentProcess) -> None:
    if os.path.exists(systemd_bus.SOCKET):
        pytest.skip("this machine runs systemd")
    with agent.connect() as client:
        for condition in ("boot-complete", "unit=nginx"):
            with pytest.raises(RefusedError, match="systemd does not run in this guest"):
                client.call("wait-for", conditions=[condition])


def test_a_bridge_of_virtual_machines_is_told_from_one_of_hardware() -> None:
    def link(index: int, kind: str = "", master: int = 0) -> Link:
        return Link(index, f"link{index}", 0, 1, b"", kind, master)

    links = [link(1), link(2, "bridge"), link(3, "tun", 2), link(4, "bridge"), link(5, master=4), link(6, "veth", 4)]
    # The last is a VPN, which is no port of anything.
    links.append(link(7, "tun"))
    assert container_links(links) == {2, 3, 6}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    with fake_systemd(tmp_path / "private", monkeypatch) as fake:
        yield fake


def test_systemd_is_asked_when_it_signals(systemd: FakeSystemd) -> None:
    waiting = Waiting(["unit=my-app@1", "boot-complete"])
    try:
        assert waiting.check({0, 1}) == ([], set())
        assert b"/org/freedesktop/systemd1/unit/my_2dapp_401_2eservice\0" in systemd.asked[0]
        signals = systemd.connections[0]

        def concerned() -> set[int]:
            return waiting.changed("systemd", False)[0]

        signals.sendall(signal("PropertiesChanged", systemd_bus.unit_path("another.service")))
        assert concerned() == set()
        # A message may come in pieces.
        message = signal("PropertiesChanged", systemd_bus.unit_path("my-app@1.service"))
        signals.sendall(message[:70])
        assert concerned() == set()
        signals.sendall(message[70:])
        assert concerned() == {0}
        systemd.units["my-app@1.service"] = "active"
        assert waiting.check({0})[0] == [(0, "my-app@1.service")]
        signals.sendall(signal("StartupFinished"))
        systemd.state = "degraded"
        assert concerned() == {1}
        assert waiting.check({1})[0] == [(1, "degraded")]
        assert waiting.period == 0
    finally:
        waiting.close()


def test_a_wait_for_a_unit_makes_systemd_load_it_once(systemd: FakeSystemd) -> None:
    waiting = Waiting(["unit=late"])
    try:
        path = systemd_bus.unit_path("late.service")
        for member in ("UnitNew", "UnitRemoved"):
            # What systemd signals if it is asked for a property of a unit that is not loaded.
            assert waiting.check({0}) == ([], set())
            systemd.connections[0].sendall(signal(member, body=path + b"\0"))
            assert waiting.changed("systemd", False)[0] == {0}
        assert [b"unit/late" in request for request in systemd.asked].count(True) == 1
    finally:
        waiting.close()


def test_a_unit_may_have_another_name(systemd: FakeSystemd) -> None:
    waiting = Waiting(["unit=sshd"])
    try:
        assert waiting.check({0}) == ([], set())
        systemd.aliases["sshd.service"] = "ssh.service"
        for started in (b"\1\0\0\0", b"\0\0\0\0"):
            systemd.connections[0].sendall(signal("Reloading", body=started))
            assert waiting.changed("systemd", False)[0] == {0}
            assert waiting.check({0}) == ([], set())
        systemd.units["ssh.service"] = "active"
        systemd.connections[0].sendall(signal("PropertiesChanged", systemd_bus.unit_path("ssh.service")))
        assert waiting.changed("systemd", False)[0] == {0}
        assert waiting.check({0})[0] == [(0, "sshd.service")]
    finally:
        waiting.close()


def test_once_systemd_has_executed_itself_again_it_is_asked_for_signals_again(systemd: FakeSystemd) -> None:
    waiting = Waiting(["unit=late"])
    try:
        assert waiting.check({0}) == ([], set())
        systemd.stop_listening()
        assert waiting.changed("systemd", False)[0] == {0}
        assert waiting.check({0}) == ([], set())
        # The only thing to do until it listens.
        assert waiting.period == 1
        systemd.listen()
        assert waiting.check({0}) == ([], set())
        assert waiting.period == 0
        (fd,) = (source.fd for source in waiting.sources.values())
        assert select.select([fd], [], [], 0)[0] == []
        wait_for(lambda: systemd.connections != [])
        systemd.connections[0].sendall(signal("PropertiesChanged", systemd_bus.unit_path("late.service")))
        assert select.select([fd], [], [], 30)[0] == [fd]
        assert waiting.changed("systemd", False)[0] == {0}
    finally:
        waiting.close()


def test_a_wait_ends_when_the_agent_stops(agent: AgentProcess) -> None:
    with agent.connect() as client:
        wait = Wait(client, "load<0.0")
        assert agent.stop() == 0
        assert client.wait_for_reset(wait.stream)[0] == "the agent is stopping"


def test_facts_are_asked_once() -> None:
    asked = []

    def ask() -> int:
        asked.append(1)
        return 7

    facts = Facts()
    assert (facts.get(ask), facts.get(ask), len(asked)) == (7, 7, 1)
    assert parse_condition("port=80").period > 0
