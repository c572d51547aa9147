"""Many clients on one guest through a real hub, with a real agent behind it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import CommandError, ConnectionLostError, Guest, connect
from tests.ends.client import HungUpError, LineClient
from tests.ends.port import QemuPort
from tests.hub.conftest import HubProcess, crowd, phoenixctl, wait_for_state
from tests.support import AgentProcess, wait_for


def talk(hub: HubProcess, *stories: Callable[[Guest], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run each story with a client of its own, all at the same time."""

    async def one(story: Callable[[Guest], Coroutine[Any, Any, Any]]) -> Any:
        async with connect(str(hub.socket("web1"))) as guest:
            return await story(guest)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(one, stories))

    return asyncio.run(all_of_them())


def test_a_client_finds_the_wire_of_the_port(hub: HubProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client:
        assert isinstance(client.call("ping"), str)
        assert client.call("file-stat", path="/etc")["isdir"]


def test_clients_work_at_the_same_time(hub: HubProcess, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "big").write_bytes(content)

    async def get(guest: Guest) -> bool:
        await guest.get(str(tmp_path / "big"), str(tmp_path / "copy"))
        return (tmp_path / "copy").read_bytes() == content

    async def put(guest: Guest) -> bool:
        await guest.put(str(tmp_path / "big"), str(tmp_path / "put"))
        return (tmp_path / "put").read_bytes() == content

    async def run(guest: Guest) -> bool:
        return (await guest.run(["cat"], input=b"hello")).stdout == b"hello"

    async def ping(guest: Guest) -> bool:
        return all([await guest.ping() for _ in range(100)])

    async def qemu(guest: Guest) -> bool:
        return all([(await guest.qga.get_host_name())["host-name"] for _ in range(20)])

    assert all(talk(hub, get, put, run, ping, qemu, run, ping, get))


def test_a_waiting_client_does_not_hold_up_another(hub: HubProcess) -> None:
    async def sleeper(guest: Guest) -> None:
        async with guest.exec(["sleep", "60"]), connect(str(hub.socket("web1"))) as other:
            assert await other.ping()

    talk(hub, sleeper)


def test_requests_without_a_tag_stay_in_order(hub: HubProcess) -> None:
    with LineClient.connect(hub.socket("web1")) as client:
        for number in range(200):
            path = "/etc" if number % 2 else "/etc/passwd"
            client.send(b'{"execute": "file-stat", "arguments": {"path": "%s"}}\n' % path.encode())
        answers = [client.answer()["return"]["isdir"] for _ in range(200)]
    assert answers == [bool(number % 2) for number in range(200)]


def test_a_client_that_leaves_takes_its_programs_with_it_and_no_others(hub: HubProcess, agent: AgentProcess) -> None:
    async def stay(guest: Guest) -> None:
        process = await guest.exec(["sleep", "600"])
        async with connect(str(hub.socket("web1"))) as other:
            await other.exec(["sleep", "600"])
            await other.exec(["sleep", "600"], terminal=True)
            assert len(agent.children()) == 3
        await asyncio.get_running_loop().run_in_executor(None, wait_for, lambda: len(agent.children()) == 1)
        await process.kill()
        assert await process.wait() == -9

    talk(hub, stay)


def test_sync_resets_only_the_client_that_sent_it(hub: HubProcess) -> None:
    async def story(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            with LineClient.connect(hub.socket("web1")) as other:
                assert other.call("sync", id=5) == 5
                assert other.call("get-session") == 5
            await process.stdin.write(b"still here")
            await process.stdin.end()
            assert await process.stdout.read() == b"still here"

    talk(hub, story)


def test_a_frame_for_the_stream_of_another_client_is_refused(hub: HubProcess) -> None:
    async def story(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            with LineClient.connect(hub.socket("web1")) as thief:
                thief.send_frame(3, process.stdin.id)
                assert thief.wait_for_reset(process.stdin.id)[1] == 43
            await process.stdin.write(b"mine")
            await process.stdin.end()
            assert await process.stdout.read() == b"mine"

    talk(hub, story)


def test_requests_fail_if_the_agent_is_restarted(hub: HubProcess, agent: AgentProcess) -> None:
    async def story(guest: Guest) -> None:
        async with guest.exec(["sleep", "600"]) as process:
            agent.process.kill()
            with pytest.raises(ConnectionLostError):
                await process.wait()
            agent.restart()
            assert await guest.ping()

    talk(hub, story)


def test_requests_fail_if_the_guest_is_restarted_behind_an_open_port(tmp_path: Path, agent: AgentProcess) -> None:
    async def story(guest: Guest) -> None:
        async with guest.exec(["sleep", "600"]) as process:
            agent.process.kill()
            agent.restart()
            with pytest.raises(ConnectionLostError):
                await asyncio.wait_for(process.wait(), 40)
        assert await guest.ping()

    with QemuPort(tmp_path, agent.socket_path) as port, HubProcess(tmp_path, {"web1": port.endpoint}) as hub:
        talk(hub, story)


def test_the_port_is_released(hub: HubProcess) -> None:
    assert hub.state("web1")["state"] == "closed"
    with LineClient.connect(hub.socket("web1")) as client:
        client.call("ping")
        assert hub.state("web1")["state"] == "connected"
        assert hub.ask("release", guest="web*") == ["web1"]
        assert hub.state("web1")["state"] == "closed"
        assert client.call("ping")


def test_the_port_is_closed_when_nobody_uses_it(tmp_path: Path, agent: AgentProcess) -> None:
    with HubProcess(tmp_path, {"web1": f"unix:{agent.socket_path}"}, "linger = 0.1\n") as hub:
        with LineClient.connect(hub.socket("web1")) as client:
            client.call("ping")
        wait_for_state(hub, "web1", "closed")


def test_guests_come_and_go(hub: HubProcess, agent: AgentProcess) -> None:
    hub.write_guests({"web1": f"unix:{agent.socket_path}", "web 2/b": f"unix:{agent.socket_path}x"})
    wait_for(lambda: len(hub.ask("list")) == 1 or hub.socket("web1").exists())
    hub.write_guests({"db1": f"unix:{agent.socket_path}"})
    wait_for(lambda: [guest["name"] for guest in hub.ask("list")] == ["db1"])
    assert not hub.socket("web1").exists()
    with LineClient.connect(hub.socket("db1")) as client:
        assert client.call("ping")


def test_the_next_hub_takes_the_place_of_one_that_was_killed(hub: HubProcess) -> None:
    client = LineClient.connect(hub.socket("web1"))
    with client:
        client.call("ping")
        hub.kill()
        with pytest.raises((HungUpError, OSError)):
            client.call("ping")
    hub.restart()
    with LineClient.connect(hub.socket("web1")) as client:
        assert client.call("ping")


def test_the_sockets_of_a_hub_that_was_killed_are_removed_with_their_guests(
    hub: HubProcess, agent: AgentProcess
) -> None:
    hub.kill()
    hub.write_guests({"db1": f"unix:{agent.socket_path}"})
    assert hub.socket("web1").exists()
    hub.restart()
    assert not hub.socket("web1").exists()
    assert hub.socket("db1").exists()


def test_clients_stay_when_the_configuration_is_read_again(hub: HubProcess, tmp_path: Path) -> None:
    record = tmp_path / "moved.log"

    async def story(guest: Guest) -> None:
        async with guest.exec(["cat"]) as process:
            hub.config_path.write_text(
                f'audit = "{record}"\nlinger = 0\n[[rule]]\nusers = ["root"]\nallow = ["viewer"]\ndeny = ["exec"]\n'
            )
            assert hub.ask("reload") is True
            with pytest.raises(CommandError, match="may not use exec on guest web1: rule 1"):
                await guest.run(["true"])
            assert await guest.ping()
            await process.stdin.write(b"still here")
            await process.stdin.end()
            assert await process.stdout.read() == b"still here"

    talk(hub, story)
    assert "refused: rule 1" in record.read_text()
    # As the new configuration has it.
    wait_for_state(hub, "web1", "closed")
    hub.config_path.write_text(f'audit = "{tmp_path}"\n')
    assert "audit" in base64.b64decode(hub.ask("reload")["error"]["bufb64"]).decode()
    assert hub.ask("status")


@pytest.mark.parametrize("ends", [HubProcess.stop, HubProcess.kill], ids=["upgraded", "killed"])
def test_clients_go_on_with_the_next_hub(hub: HubProcess, ends: Callable[[HubProcess], object]) -> None:
    async def story() -> None:
        async with connect(str(hub.socket("web1")), reconnect=40) as guest:
            kept = await guest.exec(["cat"], detach=True)
            lost = await guest.exec(["sleep", "600"])
            ends(hub)
            with pytest.raises(ConnectionLostError):
                await lost.wait()
            hub.restart()
            again = await guest.processes.attach(kept.pid)
            await again.stdin.write(b"found again")
            await again.stdin.end()
            assert await again.stdout.read() == b"found again"
            assert await again.wait() == 0

    asyncio.run(story())


def test_changes_are_recorded_without_secrets(hub: HubProcess) -> None:
    async def story(guest: Guest) -> None:
        await guest.run(["true"], env={"TOKEN": "sesame"})
        await guest.ping()
        with pytest.raises(CommandError):
            await guest.qga.set_user_password("nobody-here", "c2VzYW1l", False)

    talk(hub, story)
    run, password = hub.audit()
    assert (run["command"], run["arguments"]["argv"], run["result"]) == ("exec", ["true"], "done")
    assert (run["guest"], run["uid"], run["pid"]) == ("web1", os.getuid(), os.getpid())
    assert password["result"].startswith("failed: ")
    assert "sesame" not in hub.log_path.read_text()
    assert "c2VzYW1l" not in hub.log_path.read_text()


def test_a_thousand_idle_guests_cost_little_memory_and_no_wake_ups(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {f"web{number}": f"unix:{tmp_path}/{number}.sock" for number in range(1000)}) as hub:
        assert len(hub.ask("list")) == 1000
        assert hub.memory() < 40_000_000 + 1000 * 50_000
        assert hub.comes_to_rest(5)


def test_a_guest_that_is_connected_costs_little_memory(tmp_path: Path) -> None:
    (tmp_path / "crowd").mkdir()
    with crowd(tmp_path / "crowd", 100) as endpoints:
        guests = {f"mock{number}": endpoint for number, endpoint in enumerate(endpoints)}
        with HubProcess(tmp_path, guests, "linger = 600\n") as hub:
            assert "100 sent, 100 answered" in phoenixctl(hub, "--timeout", "30", "ping", "*").stdout
            assert sum(guest["state"] == "connected" for guest in hub.ask("list")) == 100
            assert hub.memory() < 40_000_000 + 100 * 50_000


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_thousand_guests_are_asked_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """24 real agents, the others a crowd; their ports stay open."""
    with contextlib.ExitStack() as stack:
        (tmp_path / "crowd").mkdir()
        guests = {f"mock{n}": where for n, where in enumerate(stack.enter_context(crowd(tmp_path / "crowd", 976)))}
        for number in range(24):
            (tmp_path / f"web{number}").mkdir()
            agent = stack.enter_context(AgentProcess(tmp_path / f"web{number}"))
            guests[f"web{number}"] = f"unix:{agent.socket_path}"
        hub = stack.enter_context(HubProcess(tmp_path, guests, "linger = 600\n"))
        assert hub.comes_to_rest(5)
        told = [f"closed: {hub.memory() / 1e6:.0f} MB"]
        for _ in range(3):
            began = time.monotonic()
            # Whatever else this machine does.
            done = phoenixctl(hub, "--timeout", "30", "ping", "*")
            told.append(f"asked: {time.monotonic() - began:.1f} s")
            assert "1000 sent, 1000 answered" in done.stdout, done.stderr
        assert sum(guest["state"] == "connected" for guest in hub.ask("list")) == 1000
        told.append(f"connected: {hub.memory() / 1e6:.0f} MB")
        with capsys.disabled():
            print(f"\n1,000 guests of one hub: {', '.join(told)}", end="")
        assert hub.comes_to_rest(5)
        assert hub.memory() < 40_000_000 + 1000 * 50_000
