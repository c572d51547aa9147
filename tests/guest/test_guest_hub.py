"""Everybody at once on one real guest, through the hub."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.client import ConnectionLostError, Guest, connect
from tests.ends.client import LineClient
from tests.hub.conftest import HubProcess
from tools.guest import AGENT_PORT, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

CONNECTIONS = 20
SIZE = 2_000_000


@pytest.fixture
def hub(tmp_path: Path, port: Path) -> Iterator[HubProcess]:
    with HubProcess(tmp_path, {"web1": f"unix:{port}"}) as process:
        yield process


async def _shell(guest: Guest, stop: asyncio.Event) -> None:
    async with guest.exec(["sh"], terminal=True) as process:
        await stop.wait()
        await process.stdin.write(b"echo $((6 * 7)); exit\n")
        assert b"42" in await process.stdout.read()


async def _forward(guest: Guest, connected: asyncio.Event, stop: asyncio.Event) -> None:
    """Hold connections through the guest to itself, and say something on each."""
    async with guest.listen() as listener:
        pairs = []
        for number in range(CONNECTIONS):
            near = await guest.connect("127.0.0.1", listener.port)
            pairs.append((near, await listener.accept()))
            near.writer.write(b"%d\n" % number)
        for number, (_, far) in enumerate(pairs):
            assert await far.reader.readline() == b"%d\n" % number
        connected.set()
        await stop.wait()
        for near, far in pairs:
            far.writer.write(b"done\n")
            assert await near.reader.readline() == b"done\n"
            near.writer.close()
            far.writer.close()


async def _copy(guest: Guest, directory: Path, name: str) -> None:
    content = os.urandom(SIZE)
    (directory / name).write_bytes(content)
    await guest.put(directory / name, f"/run/{name}")
    await guest.get(f"/run/{name}", directory / f"{name}.back")
    assert (directory / f"{name}.back").read_bytes() == content


async def _poll(guest: Guest, stop: asyncio.Event) -> None:
    while not stop.is_set():
        assert await guest.ping()
        await asyncio.sleep(0.2)


async def _qemu(path: Path) -> None:
    """Speak the QEMU dialect as libvirt does."""

    def talk() -> None:
        with LineClient.connect(path) as client:
            client.send(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 7}}\n')
            assert client.line().lstrip(b"\xff") == b'{"return": 7}\n'
            for _ in range(20):
                client.send(b'{"execute": "guest-get-osinfo"}\n')
                assert json.loads(client.line())["return"]["id"] == "debian"

    await asyncio.get_running_loop().run_in_executor(None, talk)


async def _freeze(guest: Guest) -> None:
    for _ in range(2):
        await guest.filesystems.freeze(auto_thaw=60)
        assert (await guest.filesystems.status()).frozen
        await guest.filesystems.thaw()


async def _reach_stage(guest: Guest, stage: str) -> None:
    """Wait until a freeze is that far."""
    while (await guest.filesystems.status()).stage != stage:
        await asyncio.sleep(0.1)


def test_everybody_at_once(hub: HubProcess, tmp_path: Path) -> None:
    path = hub.socket("web1")
    connected = asyncio.Event()
    stop = asyncio.Event()

    async def story() -> None:
        async with (
            connect(str(path)) as shell,
            connect(str(path)) as forward,
            connect(str(path)) as one,
            connect(str(path)) as two,
            connect(str(path)) as poller,
            connect(str(path)) as backup,
        ):
            waiting = [
                asyncio.ensure_future(each)
                for each in (_shell(shell, stop), _forward(forward, connected, stop), _poll(poller, stop))
            ]
            await asyncio.gather(_copy(one, tmp_path, "one"), _copy(two, tmp_path, "two"), _qemu(path))
            # A frozen guest makes no connections.
            await connected.wait()
            await _freeze(backup)
            stop.set()
            await asyncio.gather(*waiting)

    asyncio.run(story())
    assert hub.state("web1")["refused"] == 0


def test_a_freeze_whose_client_leaves_is_called_off(hub: HubProcess, guest: Machine) -> None:
    hook = "/etc/phoenix-ga/fsfreeze-hook.d/slow"
    script = "#!/bin/sh\n[ $1 = thaw ] || exec sleep 600\n"
    guest.run(f"mkdir -p $(dirname {hook}) && printf '{script}' > {hook} && chmod 755 {hook}")

    async def story() -> None:
        async with connect(str(hub.socket("web1"))) as other:
            with LineClient.connect(hub.socket("web1")) as client:
                client.ask("fs-freeze", 1)
                await asyncio.wait_for(_reach_stage(other, "hooks"), 40)
            await asyncio.wait_for(_reach_stage(other, ""), 40)
            assert not (await other.filesystems.status()).frozen

    asyncio.run(story())
    guest.run(f"rm {hook}")
    freeze, stop = sorted(hub.audit(), key=lambda entry: str(entry["command"]))
    assert "called off" in str(freeze["result"])
    assert stop["command"] == "fs-unfreeze"


def test_a_reset_of_the_guest_is_told_and_later_requests_work(hub: HubProcess, guest: Machine) -> None:
    async def story() -> None:
        async with connect(str(hub.socket("web1")), timeout=300) as client:
            async with client.exec(["sleep", "600"]) as process:
                guest.reset()
                with pytest.raises(ConnectionLostError):
                    await asyncio.wait_for(process.wait(), 60)
            assert await client.ping()

    asyncio.run(story())
    # The next test opens the port itself.
    hub.stop()
    wait_for_agent(guest.socket(AGENT_PORT))
