"""The guest that is measured: three ports, each served by another peer, and what /proc says of them."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.agents import PHOENIX_DIALECT, QEMU_DIALECT, Agent, connect
from bench.goals import PHOENIX, QEMU
from lab.machine import DEFAULT_PORTS, Machine
from tests.ends.client import LineClient, PortError, Traffic
from tools.guest import agent_files

_RAW_PORT = "org.phoenix.raw"
_PHOENIX_PORT, _QEMU_PORT = DEFAULT_PORTS
_RAW_PROGRAM = Path(__file__).parent / "raw_port.py"
#: What is written goes to memory, for it is not the guest's disk that is measured.
DIRECTORY = "/dev/shm/bench"
#: What is read is a file of a disk, all of which is in memory already.
_PAYLOADS = "/var/tmp/bench"
_UNITS = {PHOENIX: "phoenix-ga", QEMU: "qemu-guest-agent"}

_USAGE = """\
set -e
pid=$(systemctl show --property MainPID --value UNIT)
cut -d' ' -f1 /proc/uptime
awk '/^Rss/ { print $2 }' /proc/$pid/smaps_rollup
awk '/^voluntary_ctxt_switches/ { switches += $2 } END { print switches }' /proc/$pid/task/*/status
awk '{ print $14 + $15 }' /proc/$pid/stat
"""


@dataclass(frozen=True)
class Usage:
    """What a process has used up to a time.

    seconds: of the guest's clock. resident: memory in KiB. wakeups: how often a thread of it went to sleep.
    ticks: CPU time of user and system, in hundredths of a second.
    """

    seconds: float
    resident: int
    wakeups: int
    ticks: int


@dataclass(frozen=True)
class Payload:
    """Random bytes that are in the guest as well, at `path`."""

    path: str
    data: bytes

    @property
    def digest(self) -> str:
        """Their SHA-256, in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class BenchGuest:
    """A running guest. traffic: what went over the ports, by agent."""

    machine: Machine
    pieces: Payload
    bulk: Payload
    traffic: dict[str, Traffic] = field(default_factory=lambda: {PHOENIX: Traffic(), QEMU: Traffic()})

    @property
    def phoenix_path(self) -> Path:
        """The host's end of our agent's port."""
        return self.machine.socket(_PHOENIX_PORT)

    @property
    def qemu_path(self) -> Path:
        """The host's end of qemu-ga's port."""
        return self.machine.socket(_QEMU_PORT)

    def phoenix(self) -> Agent:
        """Talk to our agent."""
        return Agent(self.phoenix_path, PHOENIX_DIALECT, self.traffic[PHOENIX])

    def qemu(self) -> Agent:
        """Talk to qemu-ga."""
        return Agent(self.qemu_path, QEMU_DIALECT, self.traffic[QEMU])

    def agents(self) -> dict[str, Agent]:
        """Talk to both."""
        return {PHOENIX: self.phoenix(), QEMU: self.qemu()}

    @contextlib.contextmanager
    def raw(self) -> Iterator[LineClient]:
        """Talk to the bare port, which nobody serves at other times."""
        program, device = f"{DIRECTORY}/raw_port.py", f"/dev/virtio-ports/{_RAW_PORT}"
        self.machine.run(
            f"systemd-run --quiet --unit bench-raw python3 -I {program} {device} {self.bulk.path} {DIRECTORY}/raw"
        )
        try:
            with connect(self.machine.socket(_RAW_PORT), Traffic()) as port:
                yield port
        finally:
            self.machine.run("systemctl stop bench-raw; systemctl reset-failed bench-raw", check=False)

    def usage(self, peer: str) -> Usage:
        """What PHOENIX's or QEMU's process has used so far."""
        words = self.machine.run(_USAGE.replace("UNIT", _UNITS[peer])).text.split()
        return Usage(float(words[0]), *map(int, words[1:]))

    def check(self, path: str, payload: bytes) -> None:
        """Raise PortError unless the guest's file holds these bytes; remove it."""
        digest = self.machine.run(f"sha256sum {path} && rm {path}").text.split()[0]
        if digest != hashlib.sha256(payload).hexdigest():
            raise PortError(f"{path} in the guest is not what was written")


@contextlib.contextmanager
def boot(pieces_size: int, bulk_size: int) -> Iterator[BenchGuest]:
    """Boot a guest with payloads of these sizes, in bytes."""
    source = random.Random(20260101)
    pieces = Payload(f"{_PAYLOADS}/pieces", source.randbytes(pieces_size))
    bulk = Payload(f"{_PAYLOADS}/bulk", source.randbytes(bulk_size))
    with tempfile.TemporaryDirectory() as name:
        files = agent_files(Path(name) / "phoenix-ga.pyz")
        # The other port is for qemu-ga.
        files["/etc/phoenix-ga.conf"] = f"[general]\nport = /dev/virtio-ports/{_PHOENIX_PORT}\n".encode()
        with Machine(ports=[*DEFAULT_PORTS, _RAW_PORT], files=files, memory="1G") as machine:
            machine.copy_files(
                {pieces.path: pieces.data, bulk.path: bulk.data, f"{DIRECTORY}/raw_port.py": _RAW_PROGRAM}
            )
            # Written back now, and not while something is measured.
            machine.run(f"sync; cat {pieces.path} {bulk.path} > /dev/null")
            yield BenchGuest(machine, pieces, bulk)
