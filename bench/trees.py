"""Many files: `phoenixctl cp -r` beside tar through `phoenixctl exec`, and `phoenixctl ls` beside `exec ls -l`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.goals import PHOENIX, THROUGH_EXEC
from bench.guest import DIRECTORIES, EXT4, BenchGuest
from bench.measures import Measure, alternate
from bench.port import PortError
from bench.settings import Settings

_FILE_SIZE: Final = 2048
_FILES_IN_DIRECTORY: Final = 100
# For memory that the kernel reports in KiB.
_MEBI: Final = 1024


def measure_trees(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the time to copy a directory of small files in each direction, with the start of each program."""
    measures = []
    with tempfile.TemporaryDirectory() as name:
        local = Path(name)
        _make_tree(local / "tree", settings.tree_files)
        for filesystem, directory in DIRECTORIES.items():
            remote = f"{directory}/tree"
            guest.machine.run(f"mkdir -p {remote}")
            _shell(
                f"tar -C {local}/tree -cf - . | {_phoenixctl()} exec -i {_endpoint(guest)} -- tar -C {remote} -xf -"
            )
            guest.machine.run("sync", timeout=300)
            note = f"{settings.tree_files} files of {_FILE_SIZE} bytes; the programs' start included"
            for key, title, peers in (
                ("tree-get", f"directory from the guest's {filesystem}", _gets(guest, local, remote)),
                ("tree-put", f"directory to the guest's {filesystem}", _puts(guest, local, remote)),
            ):
                rounds = alternate(settings.rounds, peers)
                measures.append(Measure(f"{key}-{filesystem}", title, "s", rounds, note))
            guest.machine.run(f"rm -rf {remote} {remote}-copy", timeout=300)
    return measures


def measure_listings(guest: BenchGuest, settings: Settings) -> list[Measure]:
    """Measure the time to list a large directory, and the memory that the client takes for it."""
    directory = f"{DIRECTORIES[EXT4]}/listed"
    count = settings.listed_files
    guest.machine.run(
        f"mkdir -p {directory} && cd {directory} && seq -f 'file-%07g' {count} | xargs touch", timeout=600
    )
    memory: list[float] = []

    def list_it() -> float:
        seconds, peak = _listed(["ls", f"{_endpoint(guest)}:{directory}"], count)
        memory.append(peak)
        return seconds

    def list_by_exec() -> float:
        return _listed(["exec", _endpoint(guest), "--", "ls", "-l", directory], count)[0]

    rounds = alternate(settings.rounds, {PHOENIX: list_it, THROUGH_EXEC: list_by_exec})
    guest.machine.run(f"rm -r {directory}", timeout=600)
    note = f"{count} entries, on ext4; the programs' start included"
    return [
        Measure("listing", "list a directory", "s", rounds, note),
        Measure("listing-memory", "memory of phoenixctl ls", "MB", {PHOENIX: memory[1:]}, note),
    ]


def _gets(guest: BenchGuest, local: Path, remote: str) -> dict[str, Callable[[], float]]:
    copy = local / "copy"

    def measured(command: str) -> Callable[[], float]:
        def run() -> float:
            seconds = _timed(f"mkdir {copy} && {command}")
            _compare(local / "tree", copy)
            shutil.rmtree(copy)
            return seconds

        return run

    return {
        PHOENIX: measured(f"{_phoenixctl()} cp -r {_endpoint(guest)}:{remote}/. {copy}"),
        THROUGH_EXEC: measured(
            f"{_phoenixctl()} exec {_endpoint(guest)} -- tar -C {remote} -cf - . | tar -C {copy} -xf -"
        ),
    }


def _puts(guest: BenchGuest, local: Path, remote: str) -> dict[str, Callable[[], float]]:
    copy = f"{remote}-copy"

    def measured(command: str) -> Callable[[], float]:
        def run() -> float:
            guest.machine.run(f"rm -rf {copy}; mkdir {copy}; sync", timeout=300)
            seconds = _timed(command)
            guest.machine.run(f"diff -r {remote} {copy}", timeout=300)
            return seconds

        return run

    return {
        PHOENIX: measured(f"{_phoenixctl()} cp -r {local}/tree/. {_endpoint(guest)}:{copy}"),
        THROUGH_EXEC: measured(
            f"tar -C {local}/tree -cf - . | {_phoenixctl()} exec -i {_endpoint(guest)} -- tar -C {copy} -xf -"
        ),
    }


def _make_tree(root: Path, files: int) -> None:
    for number in range(files):
        directory = root / f"directory {number // _FILES_IN_DIRECTORY}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file {number}").write_bytes(os.urandom(_FILE_SIZE))


def _compare(tree: Path, copy: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_file() and path.read_bytes() != (copy / path.relative_to(tree)).read_bytes():
            raise PortError(f"{path} differs from its copy")


def _phoenixctl() -> str:
    return f"{shlex.quote(sys.executable)} -m phoenix_ga.cli"


def _endpoint(guest: BenchGuest) -> str:
    return f"unix:{guest.phoenix_path}"


def _shell(command: str) -> str:
    words = ["bash", "-o", "pipefail", "-c", command]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PortError(f"{command} failed: {result.stderr.strip()}")
    return result.stdout


def _timed(command: str) -> float:
    begin = time.perf_counter()
    _shell(command)
    return time.perf_counter() - begin


def _listed(words: list[str], count: int) -> tuple[float, float]:
    """Run phoenixctl; return the seconds that it took, and the largest memory that it had, in MB.

    Raises PortError if it does not print `count` lines and a heading.
    """
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "phoenix_ga.cli", *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        usage = os.wait4(process.pid, 0)[2]
    if lines != count + 1:
        raise PortError(f"phoenixctl {words[0]} printed {lines} lines, not {count + 1}")
    return time.perf_counter() - begin, usage.ru_maxrss / _MEBI
