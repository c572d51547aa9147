"""CPUs and memory that QEMU adds come online by themselves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.machine import DEFAULT_PORTS, Machine
from phoenix_ga.agent.options.table import CONFIG_PATH
from tests.ends.client import LineClient
from tools.guest import agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

CONFIG = f"[general]\nport = /dev/virtio-ports/{DEFAULT_PORTS[0]}\nauto-online = true\npark-after = 1\n"


def wait_for_text(guest: Machine, command: str, text: str) -> None:
    deadline = time.monotonic() + 60
    while guest.run(command).text.strip() != text:
        assert time.monotonic() < deadline, guest.run(f"{command}; journalctl -u phoenix-ga | tail").text
        time.sleep(0.2)


def test_what_is_added_comes_online(tmp_path: Path) -> None:
    files = agent_files(tmp_path / "phoenix-ga.pyz")
    files[CONFIG_PATH] = CONFIG.encode()
    arguments = ["-smp", "2,maxcpus=3", "-m", "512M,slots=1,maxmem=1G"]
    with Machine(files=files, arguments=arguments, peer=False) as guest:
        wait_for_agent(guest.socket(DEFAULT_PORTS[0]))
        guest.run("echo offline > /sys/devices/system/memory/auto_online_blocks")
        guest.run("echo 0 > /sys/devices/system/cpu/cpu1/online")
        (slot,) = (each for each in guest.qmp("query-hotpluggable-cpus") if "qom-path" not in each)
        guest.qmp("device_add", driver=slot["type"], id="added", **slot["props"])
        wait_for_text(guest, "cat /sys/devices/system/cpu/online", "0,2")
        online = "cat /sys/devices/system/memory/*/state | grep -xc online"
        before = int(guest.run(online).text)
        guest.qmp("object-add", **{"qom-type": "memory-backend-ram"}, id="module", size=256 << 20)
        guest.qmp("device_add", driver="pc-dimm", id="dimm", memdev="module")
        block = int(guest.run("cat /sys/devices/system/memory/block_size_bytes").text, 16)
        wait_for_text(guest, online, str(before + (256 << 20) // block))
        assert "auto-online: processor 2 is online" in guest.run("journalctl -u phoenix-ga").text
        assert "auto-online: memory block" in guest.run("journalctl -u phoenix-ga").text
        # What was taken offline stays so, and the agent is awake, at rest.
        assert guest.run("cat /sys/devices/system/cpu/cpu1/online").text.strip() == "0"
        pid = guest.run("systemctl show -P MainPID phoenix-ga").text.strip()
        assert "python" in guest.run(f"readlink /proc/{pid}/exe").text
        with LineClient.connect(guest.socket(DEFAULT_PORTS[0])) as client:
            assert client.call("ping")
