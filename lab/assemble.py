"""Turn the archive that mmdebstrap made into what a machine boots: kernel, initramfs and root file system.

This is a program of its own (`python -m lab.assemble ARCHIVE DIRECTORY`) so that it can run inside a user
namespace: only there can an ordinary user change the owner of a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import initramfs, recipe

_GUEST_FILES = Path(__file__).with_name("guest")
_UNITS = ("lab-shell.service", "lab-console.service")


def main() -> int:
    """Assemble the image in DIRECTORY from ARCHIVE, a tar archive of the guest's root directory."""
    archive, output = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="root-", dir=output) as temporary:
        root = Path(temporary) / "root"
        root.mkdir(mode=0o755)
        subprocess.run(
            ["tar", "--extract", "--numeric-owner", "--same-permissions", "--same-owner", "--xattrs",
             "--xattrs-include=*", f"--directory={root}", f"--file={archive}"],
            check=True,
        )  # fmt: skip
        configure(root)
        (output / "initramfs").write_bytes(
            initramfs.build(root, recipe.INITRAMFS_MODULES, (_GUEST_FILES / "init").read_bytes())
        )
        (kernel,) = (root / "boot").glob("vmlinuz-*")
        shutil.copyfile(kernel, output / "kernel")
        shutil.rmtree(root / "boot")
        (root / "boot").mkdir()
        make_file_system(root, output / "root.ext4")
    return 0


def configure(root: Path) -> None:
    """Write the recipe's configuration, the lab's units and the masks of units into the tree at `root`."""
    # The settings with which mmdebstrap ran apt (a proxy, for example) belong to the host.
    for leftover in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"):
        (root / leftover).unlink(missing_ok=True)
    for path, text in recipe.CONFIGURATION.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o644)
    units = root / "etc/systemd/system"
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for unit in _UNITS:
        _install(_GUEST_FILES / unit, units / unit, 0o644)
        (wants / unit).symlink_to(f"../{unit}")
    (root / "usr/lib/lab").mkdir()
    _install(_GUEST_FILES / "lab-shell", root / "usr/lib/lab/lab-shell", 0o755)
    for unit in recipe.MASKED_UNITS:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")


def make_file_system(root: Path, image: Path) -> None:
    """Write the tree at `root` to the sparse file `image` as an ext4 file system."""
    mke2fs = shutil.which("mke2fs") or "/sbin/mke2fs"
    subprocess.run(
        [mke2fs, "-q", "-t", "ext4", "-L", "root", "-d", str(root), "-N", "65536", "-J", "size=16",
         # Without these, a kernel thread initialises the inode tables in every guest.
         "-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0", str(image), recipe.ROOT_SIZE],
        check=True,
    )  # fmt: skip


def _install(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, mode)


if __name__ == "__main__":
    sys.exit(main())
