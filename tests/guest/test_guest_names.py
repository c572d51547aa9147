"""Guests are found by name with no configuration: a domain of libvirt, and one that was started by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.libvirt import Domain, Libvirt
from lab.machine import Machine
from phoenix_ga import __version__
from tests.cli.conftest import command_line, environment
from tests.support import wait_for
from tools.guest import AGENT_PORT, AGENT_RUNS, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

BY_HAND = "started-by-hand"


@pytest.fixture(scope="module")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirt]:
    """A libvirt with a domain that is called web1, and beside it a guest that it knows nothing of."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    with (
        Libvirt() as libvirt,
        Domain(libvirt, "web1", files=files, ports=(AGENT_PORT,)) as domain,
        Machine(files=files, name=BY_HAND) as machine,
    ):
        domain.run(AGENT_RUNS, timeout=600)
        wait_for(lambda: "state='connected'" in domain.virsh("dumpxml"))
        wait_for_agent(machine.socket(AGENT_PORT))
        yield libvirt


def phoenixctl(libvirt: Libvirt, inside: bool, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run phoenixctl, `inside` the namespace in which libvirt has its directories, or beside it."""
    pid = (libvirt.directory / "libvirtd.pid").read_text().strip()
    return subprocess.run(
        [*(["nsenter", f"--mount=/proc/{pid}/ns/mnt"] if inside else []), *command_line(*words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(XDG_CONFIG_HOME=str(home)),
    )


@pytest.mark.parametrize("inside", [True, False], ids=["with libvirt's directories", "by its processes alone"])
def test_both_are_found_and_answer_with_no_configuration(libvirt: Libvirt, tmp_path: Path, inside: bool) -> None:
    # Those of other tests are left alone.
    result = phoenixctl(libvirt, inside, tmp_path, "--timeout", "20", "--json", "guests", "web1", BY_HAND)
    states: dict[str, dict[str, Any]] = {each["name"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 0, result
    for name, source in (("web1", "libvirt" if inside else "qemu"), (BY_HAND, "qemu")):
        state = states[name]
        assert (state["state"], state["source"]) == ("answers", source), states
        assert (state["dialect"], state["version"]) == ("phoenix", __version__)
        assert "Debian" in state["system"]
        assert 0 < state["uptime"] < 600


@pytest.mark.parametrize("inside", [True, False])
def test_either_is_called_by_its_name(libvirt: Libvirt, tmp_path: Path, inside: bool) -> None:
    for words in (["ping", "-c", "1", "web1"], ["cat", f"{BY_HAND}:/etc/hostname"], ["info", f"web1,{BY_HAND}"]):
        result = phoenixctl(libvirt, inside, tmp_path, *words)
        assert result.returncode == 0, result


def test_the_port_that_libvirt_holds_is_busy(libvirt: Libvirt, tmp_path: Path) -> None:
    held = next((libvirt.directory / "lib").glob("qemu/channel/target/*/org.qemu.guest_agent.0"))
    inside = f"/var/lib/libvirt/{held.relative_to(libvirt.directory / 'lib')}"
    result = phoenixctl(libvirt, True, tmp_path, "--timeout", "1", "--json", "guests", f"unix:{inside}")
    assert result.returncode == 1
    assert json.loads(result.stdout)["state"] == "busy"
