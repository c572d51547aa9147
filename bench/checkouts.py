"""The two checkouts of a comparison: their sources, and their agents as files of a guest."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.files import GuestFile, Source, Symlink

ROOT = Path(__file__).parent.parent

# A checkout builds its own agent and brings its own unit, whose environment matters for speed.
_BUILD = """\
import sys
from pathlib import Path
from tools.guest import agent_files
files = agent_files(Path(sys.argv[1]))
units = [file for path, file in files.items() if path.endswith(".service")]
print(next(unit.content.decode() for unit in units if hasattr(unit, "content")))
"""


@dataclass(frozen=True)
class Checkout:
    """Sources to compare. name: "base" or "new". version: what `git describe` calls them, or their directory."""

    name: str
    root: Path
    version: str

    @property
    def port(self) -> str:
        """The name of the port that this checkout's agent serves."""
        return f"org.phoenix.{self.name}"

    def build(self, directory: Path) -> dict[str, Source]:
        """Build the agent in `directory`, and return the files of a guest that runs it as `bench-NAME.service`."""
        archive = directory / f"{self.name}.pyz"
        unit = _run(self.root, sys.executable, "-c", _BUILD, str(archive)).decode()
        service, place = f"bench-{self.name}.service", f"/opt/bench/{self.name}"
        drop_in = (
            f"[Service]\nExecStart=\nExecStart={place}/phoenix-ga -c {place}/phoenix-ga.conf\n"
            f"RuntimeDirectory=\nRuntimeDirectory=bench-{self.name}\n"
        )
        config = f"[general]\nport = /dev/virtio-ports/{self.port}\nrun-directory = /run/bench-{self.name}\n"
        return {
            f"{place}/phoenix-ga": GuestFile(archive.read_bytes(), mode=0o755),
            f"{place}/phoenix-ga.conf": GuestFile(config.encode()),
            f"/etc/systemd/system/{service}": GuestFile(unit.encode()),
            f"/etc/systemd/system/{service}.d/bench.conf": GuestFile(drop_in.encode()),
            f"/etc/systemd/system/multi-user.target.wants/{service}": Symlink(f"../{service}"),
        }


@contextlib.contextmanager
def open_checkout(name: str, where: str) -> Iterator[Checkout]:
    """Return the checkout in the directory `where`, or the git revision `where` in a temporary directory.

    Raises LabError if it is neither.
    """
    if Path(where).is_dir():
        root = Path(where).resolve()
        if not (root / "tools" / "guest.py").is_file():
            raise LabError(f"{where} is not a checkout of Phoenix")
        yield Checkout(name, root, _describe(root))
        return
    commit = f"{where}^{{commit}}"
    try:
        version = _run(ROOT, "git", "rev-parse", "--short", "--verify", commit).decode().strip()
    except LabError:
        raise LabError(f"{where!r} is neither a directory nor a git revision") from None
    with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as directory:
        archive = _run(ROOT, "git", "archive", "--format=tar", commit)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory, filter="data")
        yield Checkout(name, Path(directory), version)


def _describe(root: Path) -> str:
    try:
        return _run(root, "git", "describe", "--always", "--dirty").decode().strip()
    except LabError:
        return str(root)


def _run(root: Path, *command: str) -> bytes:
    """Run a command in a checkout, with that checkout's modules, and return its output."""
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    if result.returncode:
        raise LabError(f"{command[0]} failed in {root}: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout
