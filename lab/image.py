"""The guest image: built once for its inputs, then taken from the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import recipe
from lab.errors import LabError
from lab.progress import stage
from lab.requirements import find_program, require
from lab.sources import apt_options, host_suite, source_lines

_PACKAGE = Path(__file__).parent
#: What decides the image's content: a change to any of these files makes a new image.
INPUT_FILES = ("recipe.py", "assemble.py", "initramfs.py", "image.py", "guest")


@dataclass(frozen=True)
class Image:
    """A built image. Its files are never written to: a machine keeps its changes in an overlay."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """The kernel, for QEMU's -kernel."""
        return self.directory / "kernel"

    @property
    def initramfs(self) -> Path:
        """The initramfs, for QEMU's -initrd."""
        return self.directory / "initramfs"

    @property
    def root(self) -> Path:
        """The root file system, raw ext4 with no partition table."""
        return self.directory / "root.ext4"


def cache_directory() -> Path:
    """Where images are kept: `phoenix-lab` in $XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "phoenix-lab"


def image_key(suite: str) -> str:
    """The image's name in the cache: the release and a hash of everything that decides its content."""
    digest = hashlib.sha256(f"{suite} {recipe.ARCHITECTURE}\n".encode())
    for name in INPUT_FILES:
        path = _PACKAGE / name
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return f"{suite}-{digest.hexdigest()[:16]}"


def ensure_image(suite: str | None = None, *, force: bool = False) -> Image:
    """The image for `suite` (default: PHOENIX_LAB_SUITE, else the host's Debian release), built if need be.

    With `force` it is built anew. Two processes that want the same image at once build it once. Raises
    LabError when it cannot be built.
    """
    suite = suite or os.environ.get("PHOENIX_LAB_SUITE") or host_suite()
    cache = cache_directory()
    target = cache / image_key(suite)
    if target.is_dir() and not force:
        return Image(target)
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / f"{target.name}.lock"):
        # Another process may have built it while this one waited for the lock.
        if target.is_dir() and not force:
            return Image(target)
        prefix = f"building-{target.name}-"
        for leftover in cache.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=cache) as temporary:
            _build(suite, Path(temporary))
            result = Path(temporary) / "image"
            if target.is_dir():
                target.rename(Path(temporary) / "replaced")
            result.rename(target)
    return Image(target)


def clean() -> list[Path]:
    """Remove every image and leftover from the cache; returns what was removed."""
    cache = cache_directory()
    removed = sorted(cache.iterdir()) if cache.is_dir() else []
    shutil.rmtree(cache, ignore_errors=True)
    return removed


def _build(suite: str, workspace: Path) -> None:
    """Make `workspace`/image."""
    require("mmdebstrap", "mke2fs", "setpriv", "tar")
    sources = source_lines(suite)
    archive, result = workspace / "root.tar", workspace / "image"
    result.mkdir()
    with stage(f"install Debian {suite}: {len(recipe.PACKAGES)} packages and what they need"):
        # Nothing uses an initramfs of Debian's own making.
        environment = {"INITRD": "No"}
        if os.geteuid() == 0:
            environment["TMPDIR"] = str(workspace)
        _run(_mmdebstrap(suite, archive, sources), workspace, environment)
    with stage("make the root file system and the initramfs"):
        _run(
            [*_namespace(), sys.executable, "-m", "lab.assemble", str(archive), str(result)],
            workspace,
            environment={"PYTHONPATH": str(_PACKAGE.parent)},
        )


def _mmdebstrap(suite: str, archive: Path, sources: list[str]) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--architectures={recipe.ARCHITECTURE}",
        f"--include={','.join(recipe.PACKAGES)}",
        # Device nodes cannot be unpacked in a user namespace, and the guest's kernel makes its own.
        "--skip=output/dev",
        *(f"--dpkgopt=path-exclude={path}" for path in recipe.EXCLUDED_PATHS),
        # A guest is thrown away after its test: no need to wait for the disk.
        "--dpkgopt=force-unsafe-io",
        *(f"--aptopt={option}" for option in apt_options()),
        suite,
        str(archive),
        *sources,
    ]


def _namespace() -> list[str]:
    """The command prefix under which an ordinary user may own files as root and others."""
    if os.geteuid() == 0:
        return []
    require("newuidmap")
    return ["unshare", "--user", "--map-root-user", "--map-auto", "--"]


def _run(command: list[str], workspace: Path, environment: dict[str, str]) -> None:
    log = workspace / "log"
    program = find_program(command[0]) or command[0]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            # mmdebstrap cleans up after itself on SIGTERM, at once if what it runs gets one too. If this
            # process is killed it gets one from the kernel.
            [find_program("setpriv") or "setpriv", "--pdeathsig", "TERM", program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if status != 0:
        tail = log.read_text(errors="replace")[-3000:]
        raise LabError(f"{Path(program).name} failed with status {status}; its last words:\n{tail}")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
