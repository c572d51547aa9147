"""The image cache, the host's requirements and the choice of the accelerator; no guest is booted here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import accelerator, image, recipe, requirements
from lab.errors import LabError
from lab.files import GuestFile, Symlink, TransferDisk
from lab.hardware import socket_path
from lab.sources import source_lines


@pytest.mark.guest
def test_an_image_is_built_once() -> None:
    first = image.ensure_image()
    built = first.root.stat()
    assert image.ensure_image() == first
    assert (first.root.stat().st_ino, first.root.stat().st_mtime_ns) == (built.st_ino, built.st_mtime_ns)
    assert all(path.stat().st_size > 0 for path in (first.kernel, first.initramfs, first.root))
    assert [path.name for path in image.cache_directory().glob(f"building-{first.directory.name}-*")] == []


def test_image_depends_on_the_release_and_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = image.image_key("bookworm")
    assert before == image.image_key("bookworm")
    assert before.startswith("bookworm-")
    assert image.image_key("trixie").partition("-")[2] != before.partition("-")[2]
    for name in image.INPUT_FILES:
        (tmp_path / name).symlink_to(Path(image.__file__).with_name(name))
    (tmp_path / "recipe.py").unlink()
    (tmp_path / "recipe.py").write_text("PACKAGES = ()\n")
    monkeypatch.setattr(image, "_PACKAGE", tmp_path)
    assert image.image_key("bookworm") != before


def test_failed_build_leaves_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(image, "_mmdebstrap", lambda *_: ["sh", "-c", "echo no such package >&2; exit 9"])
    monkeypatch.setattr(image, "source_lines", lambda _: [])
    with pytest.raises(LabError, match=r"(?s)status 9.*no such package"):
        image.ensure_image("bookworm")
    assert [path.suffix for path in (tmp_path / "phoenix-lab").iterdir()] == [".lock"]


def test_sources_follow_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_LAB_MIRROR", "http://mirror.invalid/debian")
    (line,) = source_lines("trixie")
    assert line.endswith("http://mirror.invalid/debian trixie main")


def test_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_program", lambda _: None)
    with pytest.raises(LabError, match=r"qemu-img is missing: apt-get install qemu-utils"):
        requirements.require("qemu-img")
    assert "mmdebstrap" in requirements.missing_packages()


def test_accelerator_falls_back_to_tcg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = tmp_path / "kvm"
    assert not accelerator.kvm_works(node)
    monkeypatch.delenv("PHOENIX_LAB_ACCELERATOR", raising=False)
    monkeypatch.setattr(accelerator, "kvm_works", lambda: False)
    accelerator.accelerator.cache_clear()
    try:
        assert accelerator.accelerator() == "tcg"
        # A setting in the environment goes before what works.
        monkeypatch.setenv("PHOENIX_LAB_ACCELERATOR", "kvm")
        accelerator.accelerator.cache_clear()
        assert accelerator.accelerator() == "kvm"
    finally:
        accelerator.accelerator.cache_clear()


@pytest.mark.guest
def test_kvm_probe_leaves_no_process() -> None:
    assert accelerator.kvm_works() in (True, False)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = [Path(f"/proc/{child}/comm").read_text().strip() for child in children]
    assert not any(name.startswith("qemu") for name in names)


def test_transfer_disk_refuses_what_is_no_guest_path_or_too_big(tmp_path: Path) -> None:
    disk = TransferDisk(tmp_path)
    with pytest.raises(ValueError, match="not an absolute path"):
        disk.put({"etc/x": b""})
    disk.put({"/etc/x": GuestFile(b"content", 0o600), "/etc/y": Symlink("x")})
    with disk.path.open("rb", buffering=0) as stream:
        assert stream.read(512)[257:262] == b"ustar"
        disk.wipe()
        stream.seek(0)
        assert stream.read(4096) == bytes(4096)


def test_too_long_a_socket_path_is_refused() -> None:
    with pytest.raises(LabError, match="TMPDIR"):
        socket_path(Path("/tmp") / ("x" * 100), "port-org.guest-agent.0")


def test_the_recipe_names_each_thing_once() -> None:
    assert len(set(recipe.PACKAGES)) == len(recipe.PACKAGES)
    assert len(set(recipe.MASKED_UNITS)) == len(recipe.MASKED_UNITS)
