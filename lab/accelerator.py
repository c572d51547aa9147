"""Which of QEMU's accelerators works on this host: KVM, or TCG where it does not."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

from lab.requirements import find_program

#: QEMU's arguments for each. TCG with a simple CPU model: every feature more is a driver more to load and test.
ARGUMENTS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "qemu64"),
}
_PROBE_SECONDS = 5.0


@functools.cache
def accelerator() -> str:
    """`kvm` if a virtual CPU really runs under it, else `tcg`. PHOENIX_LAB_ACCELERATOR decides if it is set."""
    chosen = os.environ.get("PHOENIX_LAB_ACCELERATOR")
    if chosen in ARGUMENTS:
        return chosen
    return "kvm" if kvm_works() else "tcg"


def kvm_works(device: Path = Path("/dev/kvm")) -> bool:
    """Whether KVM runs code: the firmware has to say something on its debug port within some seconds.

    That the device node exists, opens or even makes a virtual machine proves nothing in a nested host.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="phoenix-lab-probe-") as directory:
        output = Path(directory) / "firmware"
        process = subprocess.Popen(
            [find_program("setpriv") or "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
             "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "32",
             *ARGUMENTS["kvm"],
             "-chardev", f"file,id=firmware,path={output}", "-device", "isa-debugcon,iobase=0x402,chardev=firmware"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _PROBE_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                if output.exists() and output.stat().st_size > 0:
                    return True
                time.sleep(0.02)
            return False
        finally:
            process.kill()
            process.wait()
