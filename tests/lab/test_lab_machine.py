"""A machine booted for real. Most tests share one; they leave it as they found it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import DiskSpec
from lab.errors import CommandError, GuestError, LabError
from lab.files import GuestFile, Symlink
from lab.machine import Machine

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

_ROOT = Path(__file__).parents[2]
_UNIT = b"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo started >/run/early'\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The shared machine."""
    tree = tmp_path_factory.mktemp("files") / "tree"
    tree.mkdir(mode=0o750)
    (tree / "script").write_text("#!/bin/sh\necho it ran\n")
    (tree / "script").chmod(0o751)
    with Machine(
        ports=["org.guest-agent.0", "org.qemu.guest_agent.0", "lab.echo.0"],
        disks=[DiskSpec(size="64M", serial="data0"), DiskSpec(size="32M", serial="data1", bus="scsi")],
        network=True,
        files={
            "/opt/tree": tree,
            "/etc/secret": GuestFile(b"s", mode=0o600),
            "/etc/systemd/system/early.service": _UNIT,
            "/etc/systemd/system/multi-user.target.wants/early.service": Symlink("../early.service"),
        },
    ) as booted:
        yield booted


def test_status_and_output(machine: Machine) -> None:
    result = machine.run("echo out; echo err >&2; exit 7", check=False)
    assert (result.status, result.output) == (7, b"out\nerr\n")
    assert machine.run("hostname").text == "phoenix-guest"
    with pytest.raises(CommandError, match="no such thing") as caught:
        machine.run("echo no such thing; exit 3")
    assert caught.value.status == 3


def test_a_command_is_ended_after_its_time_and_the_next_one_runs(machine: Machine) -> None:
    assert machine.run("echo begun; sleep 60", timeout=1.0, check=False).status == 124
    assert machine.run("sleep 60 & echo continued").text == "continued"


def test_binary_and_long_output(machine: Machine) -> None:
    every_byte = 'for i in $(seq 0 255); do printf "\\\\x$(printf %x $i)"; done'
    assert machine.run(every_byte).output == bytes(range(256))
    assert machine.run("printf 'lab-result 0 0 9\\nlab-shell ready\\n'").output.startswith(b"lab-result 0")
    noise = machine.run("head -c 1000000 /dev/urandom >/tmp/noise; cat /tmp/noise").output
    assert len(noise) == 1_000_000
    expected = subprocess.run(["sha256sum"], input=noise, stdout=subprocess.PIPE, check=True).stdout.split()[0]
    assert machine.run("sha256sum </tmp/noise; rm /tmp/noise").output.split()[0] == expected


def test_threads_take_turns(machine: Machine) -> None:
    outputs: dict[int, str] = {}

    def work(number: int) -> None:
        outputs[number] = machine.run(f"echo {number}").text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: str(number) for number in range(4)}


def test_files_are_there_before_init_with_their_modes(machine: Machine) -> None:
    listing = machine.run("stat -c '%a %U %n' /opt/tree /opt/tree/script /etc/secret; /opt/tree/script").text
    assert listing.splitlines() == [
        "750 root /opt/tree",
        "751 root /opt/tree/script",
        "600 root /etc/secret",
        "it ran",
    ]
    machine.run("until [ -s /run/early ]; do sleep 0.2; done", timeout=300)
    # Directories that were there before keep their modes.
    assert machine.run("stat -c %a / /etc /opt").text.split() == ["755", "755", "755"]


def test_copy_in_and_out(machine: Machine, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    machine.copy_in(content, "/tmp/big")
    assert len(content) == int(machine.run("stat -c %s /tmp/big").text)
    source = tmp_path / "small"
    source.write_bytes(bytes(range(256)) * 10)
    source.chmod(0o755)
    machine.copy_in(source, "/var/new directory/small")
    assert machine.copy_out("/var/new directory/small") == source.read_bytes()
    assert machine.run("stat -c %a '/var/new directory/small'").text == "755"
    machine.run("rm -r /tmp/big '/var/new directory'")
    with pytest.raises(CommandError, match="No such file"):
        machine.copy_out("/tmp/big")


def test_hardware(machine: Machine) -> None:
    ports = machine.run("udevadm settle; ls /dev/virtio-ports").text.split()
    assert ports == ["lab.echo.0", "org.guest-agent.0", "org.qemu.guest_agent.0"]
    disks = machine.run("blockdev --getsize64 /dev/disk/by-id/virtio-data0; cat /sys/block/vdb/serial").text
    assert disks.split() == [str(64 << 20), "data0"]
    assert machine.run("cat /sys/class/net/eth0/operstate").text == "down"
    assert machine.run("for m in dm_mod dm_crypt loop dummy xfs btrfs; do modprobe $m || exit 1; done").status == 0
    assert machine.run("systemctl --failed --quiet --no-legend").text == ""


def test_port_reaches_the_guest(machine: Machine) -> None:
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(str(machine.socket("lab.echo.0")))
        machine.run("socat -u EXEC:'echo hello' OPEN:/dev/virtio-ports/lab.echo.0")
        host.settimeout(120.0)
        assert host.recv(100) == b"hello\n"
    with pytest.raises(LabError, match=r"it has: org\.guest-agent\.0"):
        machine.socket("nothing")


def test_port_hot_plug(machine: Machine) -> None:
    path = machine.add_port("lab.new.0")
    node = "/dev/virtio-ports/lab.new.0"
    machine.run(f"udevadm settle; until [ -e {node} ]; do sleep 0.1; done", timeout=300)
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(str(path))
        machine.remove_port("lab.new.0")
    assert not path.exists()
    machine.run(f"while [ -e {node} ]; do sleep 0.1; done", timeout=300)
    # A name may be used again.
    machine.add_port("lab.new.0")
    machine.remove_port("lab.new.0")


def test_pause_and_resume(machine: Machine) -> None:
    machine.pause()
    assert machine.qmp("query-status")["status"] == "paused"
    machine.resume()
    assert machine.qmp("query-status")["running"] is True
    assert machine.run("echo on").text == "on"
    with pytest.raises(LabError, match="no-such-command"):
        machine.qmp("no-such-command")


def test_exception_tears_down_and_overlay_is_kept(tmp_path: Path) -> None:
    overlay = tmp_path / "root.qcow2"
    machine = Machine(overlay=overlay, peer=False)
    seen: list[tuple[Path, int]] = []

    def fail_inside() -> None:
        with machine:
            seen.append((machine.directory, machine.pid))
            assert machine.run("systemctl is-enabled qemu-guest-agent", check=False).text == "masked-runtime"
            machine.run("echo kept >/root/kept; sync")
            raise RuntimeError("the test's own")

    with pytest.raises(RuntimeError, match="the test's own"):
        fail_inside()
    directory, pid = seen[0]
    assert not directory.exists()
    assert not _lives(pid)
    machine.close()
    with Machine(overlay=overlay) as machine:
        assert machine.copy_out("/root/kept") == b"kept\n"
        machine.run("{ sleep 1; reboot; } &")
        machine.wait_ready()
        machine.shutdown()
        assert machine.wait_exit() == 0


def test_qemu_that_does_not_start_says_why() -> None:
    with pytest.raises(GuestError, match=r"(?s)QEMU did not start.*no-such-device"):
        Machine(arguments=["-device", "no-such-device"]).start()


def test_guest_that_does_not_boot_says_why() -> None:
    with pytest.raises(GuestError, match=r"(?s)did not boot within 10 s.*console's last lines.*python -m lab"):
        Machine(kernel_arguments=["systemd.mask=lab-shell.service"], boot_timeout=10.0).start()


def test_killed_parent_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "from lab.machine import Machine\nm = Machine()\nm.start()\nprint(m.pid, m.directory, flush=True)\ninput()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert _lives(int(pid))
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 120.0
    while (_lives(int(pid)) or Path(directory).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(int(pid))
    assert not Path(directory).exists()


def test_command_line_passes_the_status_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", "--disk", "32M", "--", "cat /sys/block/vdb/size; exit 5"],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (5, "65536\n")
    assert re.search(r"the guest is booting \.\.\..* done in ", done.stderr)


def _lives(pid: int) -> bool:
    """Whether the process `pid` is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
