"""The lab's own small initramfs: busybox, disk drivers and one script, as an uncompressed cpio archive."""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable
from pathlib import Path

_DIRECTORIES = ("bin", "dev", "modules", "root", "sys")


def build(root: Path, modules: Iterable[str], init: bytes) -> bytes:
    """Return an initramfs.

    Args:
        root: Root directory of the guest, with the kernel's modules and busybox.
        modules: Kernel modules to load, in this order, each after its dependencies. Those that are built into the
            kernel are left out.
        init: The script to run.
    """
    files = {name: _module(path) for name, path in _load_order(root, modules).items()}
    archive = [_entry(name, stat.S_IFDIR | 0o755) for name in _DIRECTORIES]
    # The kernel opens /dev/console as the standard streams of /init.
    archive.append(_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    archive.append(_entry("bin/busybox", stat.S_IFREG | 0o755, (root / "bin/busybox").read_bytes()))
    archive.append(_entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"))
    archive.append(_entry("init", stat.S_IFREG | 0o755, init))
    for name, content in files.items():
        archive.append(_entry(f"modules/{name}", stat.S_IFREG | 0o644, content))
    order = "".join(f"{name}\n" for name in files).encode()
    archive.append(_entry("modules/order", stat.S_IFREG | 0o644, order))
    archive.append(_entry("TRAILER!!!", 0))
    return b"".join(archive)


def _load_order(root: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """Map the file name of each module, without the compression suffix, to its path; dependencies come first."""
    (directory,) = (root / "lib/modules").iterdir()
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[_module_name(path)] = (path, rest.split())
    builtin = {_module_name(path) for path in (directory / "modules.builtin").read_text().split()}
    order: dict[str, Path] = {}
    for name in wanted:
        if name in needs:
            path, dependencies = needs[name]
            # modules.dep lists the module to load first at the end.
            for needed in [*reversed(dependencies), path]:
                order[f"{_module_name(needed)}.ko"] = directory / needed
        elif name not in builtin:
            raise FileNotFoundError(f"the kernel {directory.name} has no module {name}")
    return order


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """Return one member of a cpio archive in the `newc` format, which the kernel reads; root owns it."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
