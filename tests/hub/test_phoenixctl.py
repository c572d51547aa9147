"""phoenixctl with a hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from tests.ends.client import LineClient
from tests.hub.conftest import HubProcess, environment, phoenixctl
from tests.support import TIMEOUT, AgentProcess, wait_for


class Running:
    """A phoenixctl that goes on until it is interrupted."""

    def __init__(self, hub: HubProcess, *words: str, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "phoenix_ga.cli", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(hub),
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(TIMEOUT)


def test_a_guest_is_used_through_the_hub_and_directly_if_wanted(hub: HubProcess) -> None:
    assert phoenixctl(hub, "exec", "web1", "--", "echo", "hello").stdout == "hello\n"
    assert hub.audit()[-1]["command"] == "exec"
    count = len(hub.audit())
    assert phoenixctl(hub, "exec", "--direct", "web1", "--", "echo", "hello").stdout == "hello\n"
    assert len(hub.audit()) == count


def test_guests_are_asked_through_the_hub(hub: HubProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client:
        client.call("ping")
        (guest,) = map(json.loads, phoenixctl(hub, "--json", "guests").stdout.splitlines())
    assert (guest["name"], guest["state"], guest["dialect"]) == ("web1", "answers", "phoenix")


def test_without_the_hub_the_port_is_used(hub: HubProcess) -> None:
    hub.kill()
    assert phoenixctl(hub, "exec", "web1", "--", "echo", "hello").stdout == "hello\n"
    status = phoenixctl(hub, "hub")
    assert status.returncode == 125
    assert "hub" in status.stderr


def test_status_names_the_clients(hub: HubProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client:
        client.call("ping")
        shown = phoenixctl(hub, "hub", "status").stdout
        (guest,) = map(json.loads, phoenixctl(hub, "--json", "hub").stdout.splitlines())
    assert "connected" in shown
    assert str(os.getpid()) in shown
    assert guest["clients"][0]["pid"] == os.getpid()


def test_guests_tells_who_uses_a_guest(hub: HubProcess) -> None:
    alone = phoenixctl(hub, "guests").stdout
    assert "used by" in alone
    assert str(os.getpid()) not in alone
    with LineClient.connect(hub.socket("web1")) as client:
        client.call("ping")
        shown = phoenixctl(hub, "guests").stdout
        (guest,) = map(json.loads, phoenixctl(hub, "--json", "guests").stdout.splitlines())
    assert f"({os.getpid()}) 0 min" in shown
    assert guest["hub"]["state"] == "connected"
    assert [each["pid"] for each in guest["hub"]["clients"]] == [os.getpid()]
    hub.kill()
    assert "used by" not in phoenixctl(hub, "guests").stdout
    (guest,) = map(json.loads, phoenixctl(hub, "--json", "guests").stdout.splitlines())
    assert guest["hub"] is None


def test_watch_tells_of_clients_and_ports_as_they_come_and_go(hub: HubProcess) -> None:
    with Running(hub, "--json", "hub", "watch") as watch:
        events = [json.loads(watch.line())]
        with LineClient.connect(hub.socket("web1")) as client:
            client.call("ping")
        events += [json.loads(watch.line()) for _ in range(4)]
        assert watch.interrupt() == 130
    assert [(event["event"], event.get("state")) for event in events] == [
        ("guest", "closed"),
        ("client-came", None),
        ("port", "connecting"),
        ("port", "connected"),
        ("client-went", None),
    ]
    assert {event["guest"] for event in events} == {"web1"}
    assert events[1]["client"]["pid"] == os.getpid()


def test_watch_ends_with_the_hub(hub: HubProcess) -> None:
    with Running(hub, "hub", "watch") as watch:
        assert watch.line().endswith(" guest web1 closed\n")
        hub.stop()
        assert watch.process.wait(TIMEOUT) == 125
        assert watch.process.stderr is not None
        assert "the hub has ended" in watch.process.stderr.read()


def test_status_goes_on_with_what_is_sent_and_received_in_a_second(hub: HubProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client, Running(hub, "hub", "status", "--follow") as status:
        wait_for(lambda: bool(client.call("ping")) and "B/s" in status.line())
        while " 0 B/s" in (line := status.line()) or str(os.getpid()) not in line:
            client.call("ping")
        assert status.interrupt() == 130


def test_status_is_shown_in_place_on_a_terminal(hub: HubProcess) -> None:
    master, terminal = os.openpty()
    with Running(hub, "hub", "status", "-f", stdout=terminal) as status:
        shown = b""
        while shown.count(b"\x1b[H") < 2:
            shown += os.read(master, 65536)
        assert status.interrupt() == 130
    os.close(terminal)
    os.close(master)
    assert b"web1" in shown


def test_release_frees_the_port(hub: HubProcess, agent: AgentProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client:
        client.call("ping")
        assert phoenixctl(hub, "hub", "release", "web*").stdout == "released web1\n"
        assert hub.state("web1")["state"] == "closed"
    unknown = phoenixctl(hub, "hub", "release", "web2")
    assert (unknown.returncode, "no guest is named 'web2'" in unknown.stderr) == (1, True)


def test_explain_names_the_rule(hub: HubProcess) -> None:
    shown = phoenixctl(hub, "hub", "explain", "nobody", "web1", "exec").stdout
    assert shown.startswith("nobody may not use exec on guest web1: the default")
    hub.config_path.write_text('[[rule]]\nname = "odd"\nusers = ["nobody"]\nallow = ["exec"]\n')
    assert phoenixctl(hub, "hub", "reload").returncode == 0
    shown = phoenixctl(hub, "hub", "explain", "nobody", "web1", "exec").stdout
    assert shown == "nobody may use exec on guest web1: rule 1 (odd): allow exec\n"


def test_a_mistake_in_the_configuration_keeps_the_old_rules(hub: HubProcess) -> None:
    hub.config_path.write_text("lingr = 1")
    refused = phoenixctl(hub, "hub", "reload")
    assert (refused.returncode, "lingr" in refused.stderr) == (1, True)
    hub.reload()
    wait_for(lambda: "the old configuration stays" in hub.log_path.read_text())
    assert hub.ask("status")


def test_audit_prints_the_record(hub: HubProcess) -> None:
    record = hub.directory / "audit.log"
    hub.config_path.write_text(f'audit = "{record}"\n')
    hub.stop()
    hub.restart()
    phoenixctl(hub, "exec", "web1", "--", "true")
    phoenixctl(hub, "mkdir", "web1:/nonexistent/directory")
    shown = phoenixctl(hub, "hub", "audit", "--guest", "web1").stdout.splitlines()
    assert len(shown) == 2
    assert "exec" in shown[0]
    assert shown[0].endswith("- done")
    assert "failed: " in shown[1]
    assert not phoenixctl(hub, "hub", "audit", "--user", "nobody-here").stdout
    assert record.stat().st_mode & 0o777 == 0o640
