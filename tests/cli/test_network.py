"""`ip` in a network namespace, beside iproute2."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from phoenix_ga.client import CommandError
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.cli.test_exit_status import EVIL, assert_harmless, assert_one_line
from tests.ends.agent import ScriptedAgent
from tests.network import ip, ip_json
from tests.support import AgentProcess

Ours = Callable[..., str]


@pytest.fixture
def separate(ethernet: None, tmp_path: Path) -> Iterator[str]:
    """An agent in a network namespace with two Ethernet interfaces, and where it is."""
    with AgentProcess(tmp_path) as process:
        yield f"unix:{process.socket_path}"


@pytest.fixture
def ours(run: Run, separate: str) -> Ours:
    """Run `phoenixctl ip GUEST ...`, and return what it says."""

    def run_it(words: str) -> str:
        result = run("ip", separate, *words.split())
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return run_it


@pytest.mark.root
def test_addresses_come_and_go_as_with_ip(ours: Ours) -> None:
    ours("addr add 192.0.2.10/24 dev eth0")
    ours("a a 2001:db8::7/64 dev eth0")
    ours("address add dev eth0 192.0.2.99")
    shown = [f"{each['local']}/{each['prefixlen']}" for each in ip_json("address", "show", "eth0")[0]["addr_info"]]
    assert shown == ["192.0.2.10/24", "192.0.2.99/32", "2001:db8::7/64"]
    ours("addr del 192.0.2.10/24 dev eth0")
    ours("a d 2001:db8::7/64 dev eth0")
    ours("a delete 192.0.2.99 dev eth0")
    assert ip("address", "show", "eth0").count("inet") == 0


@pytest.mark.root
def test_the_table_of_addresses_is_that_of_ip_as_far_as_the_agent_knows(ours: Ours) -> None:
    ip("address", "add", "192.0.2.10/24", "dev", "eth0")
    ip("address", "add", "2001:db8::7/64", "dev", "eth0", "nodad")
    hardware = ip_json("link", "show", "eth0")[0]["address"]
    index = ip_json("link", "show", "eth0")[0]["ifindex"]
    four, six = "    inet 192.0.2.10/24\n", "    inet6 2001:db8::7/64\n"
    head, link = f"{index}: eth0: <BROADCAST,MULTICAST,UP>\n", f"    link/ether {hardware}\n"
    assert ours("addr show eth0") == ours("a s dev eth0") == head + link + four + six
    assert ours("-4 addr show eth0") == head + four
    assert ours("-6 a l eth0") == head + six
    assert ours("link show eth0") == head + link
    assert "lo: <LOOPBACK,UP>\n    link/loopback\n    inet 127.0.0.1/8\n" in ours("addr")


@pytest.mark.root
def test_interfaces_go_up_and_down(ours: Ours) -> None:
    ours("link set eth0 down")
    assert "UP" not in ip_json("link", "show", "eth0")[0]["flags"]
    assert "eth0" not in ours("link show up")
    ours("l set dev eth0 up")
    assert "UP" in ip_json("link", "show", "eth0")[0]["flags"]


@pytest.mark.root
def test_routes_come_and_go_as_with_ip(ours: Ours) -> None:
    ip("address", "add", "192.0.2.10/24", "dev", "eth0")
    ip("address", "add", "2001:db8::7/64", "dev", "eth0", "nodad")
    changes = (
        "default via 192.0.2.1",
        "198.51.100.0/24 dev eth1",
        "203.0.113.7 via 192.0.2.3 src 192.0.2.10",
        "10.0.0.0/8 dev eth0 scope global",
    )
    for words in changes:
        ours(f"route add {words}")
    theirs = re.sub(r" proto \w+| scope global| metric \d+|(?<=\S) +$", "", ip("route", "show"), flags=re.MULTILINE)
    assert sorted(ours("route").splitlines()) == sorted(line.strip() for line in theirs.splitlines())
    assert ours("r s 203.0.113.7") == "203.0.113.7 via 192.0.2.3 dev eth0 src 192.0.2.10\n"
    assert ours("r s dev eth1") == "198.51.100.0/24 dev eth1 scope link\n"
    for words in changes:
        ours(f"route del {words.replace(' scope global', '').replace(' dev eth1', '')}")
    assert ours("route").splitlines() == ["192.0.2.0/24 dev eth0 scope link src 192.0.2.10"]


@pytest.mark.root
def test_routes_of_ipv6(ours: Ours) -> None:
    ip("address", "add", "2001:db8::7/64", "dev", "eth0", "nodad")
    ours("-6 route add default via 2001:db8::1")
    ours("route add 2001:db8:5::/48 dev eth1")
    assert {"default via 2001:db8::1 dev eth0", "2001:db8:5::/48 dev eth1"} <= set(ours("-6 route").splitlines())
    assert "default" not in ours("route")
    ours("-6 route del default")
    ours("route del 2001:db8:5::/48")
    assert not {"default", "2001:db8:5::/48"} & {each["dst"] for each in ip_json("-6", "route", "show")}


@pytest.mark.root
def test_json_has_the_members_of_ip(run: Run, separate: str) -> None:
    ip("address", "add", "192.0.2.10/24", "dev", "eth0")
    mine = json.loads(run("--json", "ip", separate, "addr", "show", "eth0").stdout)[0]
    theirs: dict[str, Any] = ip_json("address", "show", "eth0")[0]
    for name in ("ifindex", "ifname", "link_type", "address"):
        assert mine[name] == theirs[name]
    assert set(mine["flags"]) <= set(theirs["flags"])
    assert mine["addr_info"][0].items() <= theirs["addr_info"][0].items()
    assert json.loads(run("--json", "ip", separate, "route").stdout)[0].items() <= ip_json("route")[0].items()


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("addr show nope", "nope: no such interface"),
        ("addr add 192.0.2.1/24 dev nope", "no such interface"),
        ("addr del 192.0.2.1/24 dev eth0", "Address not found"),
        ("route del 198.51.100.0/24", "no such route"),
        ("route del 198.51.100.0/24 dev eth0", "no such route"),
        ("route add default via 192.0.2.1", "add dev INTERFACE"),
        ("route add default via fe80::1", "add dev INTERFACE"),
    ],
)
def test_what_the_guest_has_not_is_refused(run: Run, separate: str, words: str, hint: str) -> None:
    result = run("ip", separate, *words.split())
    assert_one_line(result, 1)
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("", "address, link or route"),
        ("neigh", "expected one of: address, link, route"),
        ("addr flush eth0", "expected one of: show, add, delete"),
        ("link add eth9", "expected one of: show, set"),
        ("addr add 192.0.2.1/24", "address add ADDRESS/LENGTH dev INTERFACE"),
        ("addr add 192.0.2.256/24 dev eth0", "is not an address"),
        ("-6 addr add 192.0.2.1/24 dev eth0", "is not IPv6"),
        ("addr add 192.0.2.1/24 dev", "Missing value after 'dev'"),
        ("addr add 192.0.2.1/24 dev eth0 label x", "expected one of: dev"),
        ("link set eth0", "up|down"),
        ("link set eth0 up down", "up|down"),
        ("route add", "route add DESTINATION"),
        ("route add default", "via ADDRESS, dev INTERFACE"),
        ("route add 198.51.100.1/24 dev eth0", "the network is 198.51.100.0/24"),
        ("route add somewhere dev eth0", "is not a destination"),
        ("route add 10.0.0.0/8 via 2001:db8::1", "is not IPv4"),
        ("route add 10.0.0.0/8 via gateway", "is not an IPv4 or IPv6 address"),
        ("route add 10.0.0.0/8 dev eth0 scope far", "Unknown scope"),
        ("route add 10.0.0.0/8 dev eth0 scope 256", "Unknown scope"),
        ("route show via 10.0.0.1", "expected one of: dev"),
        ("-4 -6 addr", "exclude each other"),
    ],
)
def test_wrong_words_are_told_what_is_right_before_a_guest_is_asked(run: Run, words: str, hint: str) -> None:
    result = run("ip", "unix:/nowhere.sock", *words.split())
    assert_one_line(result, 2)
    assert hint in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_whatever_a_guest_says_of_its_network_is_harmless(
    run: Run, scripted: ScriptedAgent, options: list[str]
) -> None:
    interface = {"index": -(2**63), "name": EVIL, "hwaddr": EVIL, "flags": EVIL, "ips": [EVIL, "/", "::1/٣", "1/2/3"]}
    route = {"ifname": EVIL, "scope": 2**63, "dst": {"ip": EVIL, "mask": EVIL}, "src": EVIL, "gateway": EVIL}
    scripted.answers = {"get-netifaces": [interface, *BY_NAME["get-netifaces"].examples[0].answer]}
    scripted.answers["get-route-list"] = [route, {**route, "dst": {"ip": "10.0.0.0", "mask": "-1"}}]
    for words in ("addr", "-4 addr", "link", "route", "-6 route", "route show default"):
        result = run(*options, "ip", scripted.endpoint, *words.split())
        assert result.returncode == 0, result.stderr
        assert_harmless(result.stdout + result.stderr)
    for words in ("route add default via 192.0.2.1", "route del default"):
        assert_one_line(run("ip", scripted.endpoint, *words.split()), 1)


class TestPersist:
    WRITTEN: ClassVar = {
        "manager": "systemd-networkd",
        "path": "/etc/systemd/network/05-phoenix-ga-eth0.network",
        "content": "[Match]\nName=eth0\n",
        "backup": "",
    }

    @pytest.fixture(autouse=True)
    def answers(self, scripted: ScriptedAgent) -> None:
        scripted.answers = dict.fromkeys(("ipaddr-add", "route-add", "net-iface-up"), True)
        scripted.answers["net-persist"] = self.WRITTEN

    def asked(self, scripted: ScriptedAgent) -> list[tuple[str, Any]]:
        """What the guest was asked to do, in order."""
        return [
            (each.execute, each.arguments.get("dry_run", False))
            for each in scripted.requests
            if each.execute in scripted.answers
        ]

    @pytest.mark.parametrize(
        ("words", "asked"),
        [
            # Whatever is refused is refused before there is a change.
            ("addr add 192.0.2.10/24 dev", [("net-persist", True), ("ipaddr-add", False), ("net-persist", False)]),
            ("route add default dev", [("net-persist", True), ("route-add", False), ("net-persist", False)]),
            ("link set up", [("net-iface-up", False), ("net-persist", False)]),
        ],
    )
    def test_a_change_is_made_and_written(
        self, run: Run, scripted: ScriptedAgent, words: str, asked: list[tuple[str, bool]]
    ) -> None:
        result = run("ip", scripted.endpoint, *words.split(), "eth0", "--persist")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "wrote /etc/systemd/network/05-phoenix-ga-eth0.network (systemd-networkd)\n"
        assert self.asked(scripted) == asked

    def test_what_is_active_is_shown_or_written(self, run: Run, scripted: ScriptedAgent) -> None:
        shown = run("ip", scripted.endpoint, "addr", "show", "eth0", "--persist", "--dry-run")
        path = self.WRITTEN["path"]
        assert shown.stdout == f"{path} (systemd-networkd):\n[Match]\nName=eth0\n"
        written = json.loads(run("--json", "ip", scripted.endpoint, "addr", "show", "eth0", "--persist").stdout)
        assert written == [{"ifname": "eth0", **self.WRITTEN, "written": True}]
        assert self.asked(scripted) == [("net-persist", True), ("net-persist", False)]

    def test_nothing_is_changed_if_it_could_not_be_written(self, run: Run, scripted: ScriptedAgent) -> None:
        scripted.answers["net-persist"] = CommandError("the guest has no network manager that is known", 95)
        result = run("ip", scripted.endpoint, "addr", "add", "192.0.2.10/24", "dev", "eth0", "--persist")
        assert_one_line(result, 1)
        assert "no network manager" in result.stderr
        assert self.asked(scripted) == [("net-persist", True)]

    @pytest.mark.parametrize(
        "words",
        [
            "addr --persist",
            "route show --persist",
            "addr add 192.0.2.1/24 dev eth0 --dry-run",
            "link set eth0 down --persist",
        ],
    )
    def test_what_makes_no_sense(self, run: Run, words: str) -> None:
        assert_one_line(run("ip", "unix:/nowhere.sock", *words.split()), 2)

    def test_a_hostile_answer_is_harmless(self, run: Run, scripted: ScriptedAgent) -> None:
        scripted.answers = {"net-persist": dict.fromkeys(self.WRITTEN, EVIL)}
        for options in ((), ("--json",)):
            for dry in ((), ("--dry-run",)):
                result = run(*options, "ip", scripted.endpoint, "addr", "show", "eth0", "--persist", *dry)
                assert result.returncode == 0
                assert_harmless(result.stdout + result.stderr)
