"""The guest image: built once, then taken from the user's cache until one of its inputs changes."""

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
from lab.progress import last_line, stage
from lab.requirements import find_program, require
from lab.sources import apt_options, host_release, source_lines

_PACKAGE = Path(__file__).parent
#: The files that decide the image's content: a change to any of them makes a new image.
INPUT_FILES = ("recipe.py", "assemble.py", "initramfs.py", "image.py", "guest")


@dataclass(frozen=True)
class Image:
    """A built image. Machines never write to it; each keeps its changes in an overlay."""

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
        """The root file system: raw ext4 without a partition table."""
        return self.directory / "root.ext4"


def cache_directory() -> Path:
    """Return the directory of the images: `phoenix-lab` in $XDG_CACHE_HOME or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "phoenix-lab"


def image_key(release: str) -> str:
    """Return the image's name in the cache: the release and a hash of everything that decides its content."""
    digest = hashlib.sha256(f"{release} {recipe.ARCHITECTURE}\n".encode())
    for name in INPUT_FILES:
        path = _PACKAGE / name
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return f"{release}-{digest.hexdigest()[:16]}"


def is_built(release: str) -> bool:
    """Return whether the cache has the image of a release."""
    return (cache_directory() / image_key(release)).is_dir()


def ensure_image(release: str | None = None, *, force: bool = False) -> Image:
    """Return the image of a Debian release, after building it if the cache does not have it.

    Two processes that need the same image at the same time build it once.

    Args:
        release: Code name, such as `trixie`. Default: PHOENIX_LAB_RELEASE, else the release of the host.
        force: Build the image even if the cache has it.

    Raises:
        LabError: The image cannot be built.
    """
    release = release or os.environ.get("PHOENIX_LAB_RELEASE") or host_release()
    cache = cache_directory()
    target = cache / image_key(release)
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
            _build(release, Path(temporary))
            result = Path(temporary) / "image"
            if target.is_dir():
                target.rename(Path(temporary) / "replaced")
            result.rename(target)
    return Image(target)


def clean() -> list[Path]:
    """Remove everything from the cache, and return what was removed."""
    cache = cache_directory()
    removed = sorted(cache.iterdir()) if cache.is_dir() else []
    shutil.rmtree(cache, ignore_errors=True)
    return removed


def _build(release: str, workspace: Path) -> None:
    """Make `workspace`/image."""
    require("mmdebstrap", "mke2fs", "setpriv", "tar")
    sources = source_lines(release)
    archive, result = workspace / "root.tar", workspace / "image"
    result.mkdir()
    log = workspace / "log"
    with stage(f"building the guest image: installing Debian {release}", lambda: last_line(log)):
        # The lab makes its own initramfs.
        environment = {"INITRD": "No"}
        if os.geteuid() == 0:
            environment["TMPDIR"] = str(workspace)
        _run(_mmdebstrap(release, archive, sources), log, environment)
    with stage("building the guest image: making the root file system"):
        _run(
            [*_namespace(), sys.executable, "-m", "lab.assemble", str(archive), str(result)],
            log,
            environment={"PYTHONPATH": str(_PACKAGE.parent)},
        )


def _mmdebstrap(release: str, archive: Path, sources: list[str]) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--architectures={recipe.ARCHITECTURE}",
        f"--include={','.join(recipe.PACKAGES)}",
        # Device nodes cannot be unpacked in a user namespace, and the guest's kernel makes its own.
        "--skip=output/dev",
        *(f"--dpkgopt=path-exclude={path}" for path in recipe.EXCLUDED_PATHS),
        # The image can be built again: do not wait for the disk.
        "--dpkgopt=force-unsafe-io",
        *(f"--aptopt={option}" for option in apt_options()),
        release,
        str(archive),
        *sources,
    ]


def _namespace() -> list[str]:
    """Return the command prefix under which an ordinary user can give files to root and others."""
    if os.geteuid() == 0:
        return []
    require("newuidmap")
    return ["unshare", "--user", "--map-root-user", "--map-auto", "--"]


def _run(command: list[str], log: Path, environment: dict[str, str]) -> None:
    program = find_program(command[0]) or command[0]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            # On SIGTERM mmdebstrap cleans up, at once if its children get the signal too. If this process is killed,
            # the kernel sends mmdebstrap the signal.
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
        raise LabError(f"{Path(program).name} failed with status {status}; its last output:\n{tail}")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stage("waiting for another process that builds the same guest image"):
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
