"""The machine and the versions that a run measured."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from bench.guest import BenchGuest
from bench.settings import Settings
from lab.accelerator import accelerator
from phoenix_ga import __version__

_ROOT = Path(__file__).parent.parent


def describe(guest: BenchGuest, settings: Settings) -> dict[str, str]:
    """Return names and values for the report."""
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "phoenix": f"{__version__}, {_output('git', 'describe', '--always', '--dirty')}",
        "rounds": str(settings.rounds),
        "host": f"{_processor()}, {os.cpu_count()} processors, load {load}",
        "host Python": platform.python_version(),
        "QEMU": f"{_version(_output('qemu-system-x86_64', '--version'))}, {accelerator()}",
        "guest": f"{guest.machine.smp} processors, {guest.machine.memory}, {guest.machine.run('uname -r').text}",
        "guest Python": _version(guest.machine.run("python3 --version").text),
        "qemu-ga": _version(guest.machine.run("qemu-ga --version").text),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text


def _output(*command: str) -> str:
    try:
        result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"
