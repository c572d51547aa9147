"""The guest that is measured: its files, the three ports and their peers, and what /proc says of the agents."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.goals import PHOENIX, QEMU
from bench.port import PHOENIX_DIALECT, QEMU_DIALECT, Agent, Port, PortError, Traffic
from lab.files import Source
from lab.machine import DEFAULT_PORTS, Machine
from tools.guest import agent_files

EXT4: Final = "ext4"
TMPFS: Final = "tmpfs"
#: Where the payloads are, and where files are written, by filesystem.
DIRECTORIES: Final = {EXT4: "/var/tmp/bench", TMPFS: "/dev/shm/bench"}

_RAW_PORT = "org.phoenix.raw"
_PHOENIX_PORT, _QEMU_PORT = DEFAULT_PORTS
_RAW_PROGRAM = Path(__file__).parent / "raw_port.py"
_RAW_PATH = "/opt/bench/raw_port.py"
_UNITS = {PHOENIX: "phoenix-ga", QEMU: "qemu-guest-agent"}
_MEMORY = "1G"
_CONFIG = "/etc/phoenix-ga.conf"
_PARK_SECONDS = 60.0

_USAGE = """\
set -e
pid=$(systemctl show --property MainPID --value UNIT)
cut -d' ' -f1 /proc/uptime
awk '/^[RP]ss:/ { print $2 }' /proc/$pid/smaps_rollup
awk '/^voluntary_ctxt_switches/ { switches += $2 } END { print switches }' /proc/$pid/task/*/status
awk '{ print $14 + $15 }' /proc/$pid/stat
"""


@dataclass(frozen=True)
class Usage:
    """What a process has used since it started.

    Attributes:
        seconds: The guest's uptime when this was read.
        resident: Resident memory, in KiB.
        proportional: The same, with shared pages divided by the number of processes that share them.
        wakeups: Voluntary context switches of all threads.
        ticks: User and system CPU time, in hundredths of a second.
    """

    seconds: float
    resident: int
    proportional: int
    wakeups: int
    ticks: int


@dataclass(frozen=True)
class Payload:
    """Random bytes, and the name of the file that holds them in the guest."""

    name: str
    data: bytes

    def path(self, filesystem: str) -> str:
        """Return the path of the file on a filesystem of DIRECTORIES."""
        return f"{DIRECTORIES[filesystem]}/{self.name}"

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class GuestFiles:
    """The files of a running guest. pieces: read piece by piece. bulk: copied by streams."""

    machine: Machine
    pieces: Payload
    bulk: Payload

    def check(self, path: str, payload: bytes) -> None:
        """Remove a file of the guest. Raises PortError if it did not hold exactly `payload`."""
        digest = self.machine.run(f"sha256sum {path} && rm {path}").text.split()[0]
        if digest != hashlib.sha256(payload).hexdigest():
            raise PortError(f"{path} in the guest does not hold the bytes that were sent")


@dataclass
class BenchGuest:
    """A running guest with Phoenix, qemu-ga and the raw port. traffic: what went over the ports, by agent."""

    files: GuestFiles
    traffic: dict[str, Traffic] = field(default_factory=lambda: {PHOENIX: Traffic(), QEMU: Traffic()})

    @property
    def machine(self) -> Machine:
        """The virtual machine."""
        return self.files.machine

    @property
    def phoenix_path(self) -> Path:
        """The host's end of the port of Phoenix."""
        return self.machine.socket(_PHOENIX_PORT)

    @property
    def qemu_path(self) -> Path:
        """The host's end of the port of qemu-ga."""
        return self.machine.socket(_QEMU_PORT)

    def phoenix(self) -> Agent:
        """Connect to Phoenix."""
        return Agent(self.phoenix_path, PHOENIX_DIALECT, self.traffic[PHOENIX])

    def qemu(self) -> Agent:
        """Connect to qemu-ga."""
        return Agent(self.qemu_path, QEMU_DIALECT, self.traffic[QEMU])

    def agents(self) -> dict[str, Agent]:
        """Connect to both agents."""
        return {PHOENIX: self.phoenix(), QEMU: self.qemu()}

    @contextlib.contextmanager
    def raw(self, filesystem: str) -> Iterator[Port]:
        """Serve the raw port with raw_port.py, which uses files of `filesystem`, and connect to it."""
        device, received = f"/dev/virtio-ports/{_RAW_PORT}", f"{DIRECTORIES[filesystem]}/raw"
        program = f"python3 -I {_RAW_PATH} {device} {self.files.bulk.path(filesystem)} {received}"
        self.machine.run(f"systemd-run --quiet --unit bench-raw {program}")
        try:
            with Port(self.machine.socket(_RAW_PORT), Traffic()) as port:
                yield port
        finally:
            self.machine.run("systemctl stop bench-raw; systemctl reset-failed bench-raw", check=False)

    def let_park(self) -> None:
        """Let Phoenix park after a second without requests."""
        self.machine.copy_files({_CONFIG: _config(park_after=1)})
        self.machine.run(f"systemctl reload {_UNITS[PHOENIX]}")

    def wait_until_parked(self) -> None:
        """Wait until Phoenix has parked. Raises PortError if it does not."""
        deadline = time.monotonic() + _PARK_SECONDS
        command = f"readlink /proc/$(systemctl show --property MainPID --value {_UNITS[PHOENIX]})/exe"
        while "phoenix-wait" not in self.machine.run(command).text:
            if time.monotonic() > deadline:
                raise PortError("the agent does not park")
            time.sleep(0.2)

    def usage(self, peer: str) -> Usage:
        """Return what the process of PHOENIX or QEMU has used."""
        words = self.machine.run(_USAGE.replace("UNIT", _UNITS[peer])).text.split()
        return Usage(float(words[0]), *map(int, words[1:]))


def _config(park_after: int) -> bytes:
    """Return the config file of Phoenix, which leaves the other port to qemu-ga."""
    return f"[general]\nport = /dev/virtio-ports/{_PHOENIX_PORT}\npark-after = {park_after}\n".encode()


@contextlib.contextmanager
def boot(pieces_size: int, bulk_size: int) -> Iterator[BenchGuest]:
    """Boot a guest with both agents and payloads of these sizes, in bytes."""
    with tempfile.TemporaryDirectory() as name:
        files = agent_files(Path(name) / "phoenix-ga.pyz")
        files[_CONFIG] = _config(park_after=0)
        files[_RAW_PATH] = _RAW_PROGRAM
        with boot_with([*DEFAULT_PORTS, _RAW_PORT], files, pieces_size, bulk_size) as guest_files:
            yield BenchGuest(guest_files)


@contextlib.contextmanager
def boot_with(
    ports: Sequence[str], files: Mapping[str, Source], pieces_size: int, bulk_size: int, *, peer: bool = True
) -> Iterator[GuestFiles]:
    """Boot a guest with `ports` and `files`, as of Machine, and put the payloads on each filesystem.

    Raises PortError if a directory of DIRECTORIES is not on the filesystem that it stands for.
    """
    source = random.Random(20260101)
    pieces = Payload("pieces", source.randbytes(pieces_size))
    bulk = Payload("bulk", source.randbytes(bulk_size))
    with Machine(ports=ports, files=files, memory=_MEMORY, peer=peer) as machine:
        for filesystem, directory in DIRECTORIES.items():
            machine.copy_files({payload.path(filesystem): payload.data for payload in (pieces, bulk)})
            # Write it back now, and not while something is measured.
            machine.run(f"sync; cat {directory}/* > /dev/null")
            found = machine.run(f"findmnt --noheadings --output FSTYPE --target {directory}").text.strip()
            if found != filesystem:
                raise PortError(f"{directory} in the guest is on {found}, not on {filesystem}")
        yield GuestFiles(machine, pieces, bulk)
