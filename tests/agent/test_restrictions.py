"""What the agent says of a sandbox."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga.agent.restrictions import restrictions
from tests.support import SOURCE, AgentProcess

ALL = f"{2**41 - 1:016x}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of an agent without a sandbox."""
    for directory in ("proc/self/ns", "proc/1/ns", "sys/class/block/vda", "sys/class/virtio-ports/vport1p1", "dev"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "dev/vda").touch()
    (tmp_path / "dev/vport1p1").touch()
    for process in ("self", "1"):
        (tmp_path / f"proc/{process}/ns/net").symlink_to("net:[4026531840]")
    status(tmp_path)
    mounts(tmp_path, "/ rw", "/proc rw")
    return tmp_path


def status(root: Path, capabilities: str = ALL, no_new_privileges: int = 0, seccomp: int = 0) -> None:
    text = f"CapEff:\t{capabilities}\nNoNewPrivs:\t{no_new_privileges}\nSeccomp:\t{seccomp}\n"
    (root / "proc/self/status").write_text(text)


def mounts(root: Path, *points: str) -> None:
    lines = [f"{number} 1 8:1 / {point},relatime - ext4 /dev/vda rw\n" for number, point in enumerate(points)]
    (root / "proc/self/mountinfo").write_text("".join(lines))


def test_nothing_is_said_of_an_agent_without_a_sandbox(root: Path) -> None:
    assert list(restrictions(str(root))) == []


def test_each_missing_capability_is_told_with_its_effect(root: Path) -> None:
    status(root, f"{2**41 - 1 - (1 << 21) - (1 << 1):016x}")
    assert list(restrictions(str(root))) == [
        "files of other users cannot be read and written: without CAP_DAC_OVERRIDE",
        "filesystems cannot be frozen: without CAP_SYS_ADMIN",
    ]


@pytest.mark.parametrize(
    ("points", "shown"),
    [
        (("/ ro", "/proc rw", "/var rw"), "/"),
        (("/ rw", "/usr ro", "/boot ro", "/etc ro"), "/boot, /etc, /usr"),
    ],
)
def test_directories_that_are_read_only_are_named(root: Path, points: tuple[str, ...], shown: str) -> None:
    mounts(root, *points)
    assert list(restrictions(str(root))) == [f"files cannot be changed on what is mounted read-only: {shown}"]


def test_hidden_devices_filters_and_namespaces_are_told(root: Path) -> None:
    (root / "dev/vda").unlink()
    (root / "dev/vport1p1").unlink()
    status(root, no_new_privileges=1, seccomp=2)
    (root / "proc/self/ns/net").unlink()
    (root / "proc/self/ns/net").symlink_to("net:[1]")
    found = [text.partition(":")[0] for text in restrictions(str(root))]
    assert found == [
        "ports cannot be opened",
        "disks cannot be opened",
        "programs cannot gain rights, as by sudo",
        "some system calls fail",
        "the network is not that of the guest",
    ]


@pytest.mark.root
@pytest.mark.programs("setpriv")
def test_the_self_test_and_the_log_tell_of_missing_rights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "phoenix_ga.agent", "--self-test"]
    sandbox = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    found = subprocess.run(
        [*sandbox, *command], capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE)}, check=False
    )
    assert found.returncode == 1
    assert "filesystems cannot be frozen: without CAP_SYS_ADMIN\n" in found.stdout


@pytest.mark.root
def test_an_agent_tells_in_its_log_what_it_cannot_do(tmp_path: Path) -> None:
    expected = "; ".join(restrictions())
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        client.call("ping")
        assert ("restricted: " in agent.log()) == bool(expected)
        assert expected in agent.log()
