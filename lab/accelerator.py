"""Choose QEMU's accelerator: KVM if it works on this host, else TCG."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

from lab.requirements import find_program

#: QEMU's arguments for each. TCG gets a simple CPU model: each feature makes the guest load and test another driver.
ARGUMENTS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "qemu64"),
}
_PROBE_SECONDS = 5.0


@functools.cache
def accelerator() -> str:
    """Return PHOENIX_LAB_ACCELERATOR if it is set, else `kvm` if a virtual CPU runs under KVM, else `tcg`."""
    chosen = os.environ.get("PHOENIX_LAB_ACCELERATOR")
    if chosen in ARGUMENTS:
        return chosen
    return "kvm" if kvm_works() else "tcg"


def kvm_works(device: Path = Path("/dev/kvm")) -> bool:
    """Return whether KVM runs code: the firmware must write to its debug port within a few seconds.

    On a nested host, a device node that can be opened, or even a virtual machine that can be made, proves nothing.
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
