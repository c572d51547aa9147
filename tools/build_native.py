"""Build the waiter, which an idle agent becomes: `python -m tools.build_native`, or `make native`.

Each machine for which there is a compiler gets build/native/phoenix-wait-MACHINE. Without it, the agent stays awake
when it is idle.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "native" / "phoenix-wait.c"
TARGET = ROOT / "build" / "native"
# The machines of uname(2) for which the source has an entry point, and their cross compilers.
COMPILERS = {"x86_64": "x86_64-linux-gnu-gcc", "aarch64": "aarch64-linux-gnu-gcc"}
# One segment without padding, and nothing that needs a libc. No path and no time: builds are reproducible.
FLAGS = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fomit-frame-pointer"),
    *("-nostdlib", "-static", "-fno-pie", "-no-pie", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-n"),
)


def compiler(machine: str) -> str | None:
    """Return the compiler for a machine, $CC or cc for this one, or None if there is none."""
    if machine == platform.machine():
        native = os.environ.get("CC") or "cc"
        if shutil.which(native):
            return native
    return shutil.which(COMPILERS[machine])


def build(directory: Path = TARGET) -> list[Path]:
    """Compile the waiter for each machine with a compiler, and return the files.

    Raises:
        subprocess.CalledProcessError: The compiler failed; it has written why.
    """
    directory.mkdir(parents=True, exist_ok=True)
    built = []
    for machine in COMPILERS:
        program = compiler(machine)
        if program is None:
            continue
        target = directory / f"phoenix-wait-{machine}"
        with tempfile.TemporaryDirectory(dir=directory) as name:
            unfinished = Path(name) / target.name
            subprocess.run([program, *FLAGS, "-o", unfinished, SOURCE], check=True)
            unfinished.replace(target)
        built.append(target)
    return built


def main() -> None:
    try:
        built = build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"native: {error.cmd[0]} failed")
    if not built:
        print("native: there is no C compiler; the agent that is built here stays awake when idle", file=sys.stderr)
    for path in built:
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
