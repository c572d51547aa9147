"""Snapshots by libvirt, of a domain that runs no guest."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.libvirt import Libvirt
from phoenix_ga.client import SnapshotError
from phoenix_ga.client.snapshots.libvirt import LibvirtDisks
from phoenix_ga.client.snapshots.model import EXTERNAL, INTERNAL, Kind
from phoenix_ga.client.snapshots.take import GuestSnapshot, Snapshots

pytestmark = [pytest.mark.root, pytest.mark.programs("virsh", "libvirtd"), pytest.mark.timeout(300)]

DOMAIN = """<domain type='qemu'><name>web1</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk></devices></domain>"""
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>"
    "<target dev='{}' bus='virtio'/></disk>"
)


@pytest.fixture(scope="module")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirt]:
    directory = tmp_path_factory.mktemp("domain")
    disks = ""
    for name in ("vda", "vdb"):
        subprocess.run(["truncate", "-s", "16M", directory / name], check=True)
        disks += DISK.format(directory / name, name)
    (directory / "domain.xml").write_text(DOMAIN.format(disks=disks))
    with Libvirt() as libvirt:
        # Its processors never run.
        libvirt.virsh("create", "--paused", directory / "domain.xml")
        yield libvirt
        libvirt.virsh("destroy", "web1")


def files(libvirt: Libvirt) -> dict[str, str]:
    top = ElementTree.fromstring(libvirt.virsh("dumpxml", "web1"))
    disks = [(disk.find("target"), disk.find("source")) for disk in top.iterfind("devices/disk[@device='disk']")]
    return {
        target.get("dev", ""): source.get("file", "")
        for target, source in disks
        if target is not None and source is not None
    }


def test_external_snapshots_are_made_and_removed_again(libvirt: Libvirt, tmp_path: Path) -> None:
    before = files(libvirt)
    kind = Kind(EXTERNAL, "one", tmp_path)
    control = LibvirtDisks("web1", "web1", kind, libvirt.uri)
    snapshots = Snapshots(kind, [GuestSnapshot("web1", None, control)])
    asyncio.run(snapshots.take())
    assert snapshots.verdict == "crash-consistent"
    assert files(libvirt) == {name: str(tmp_path / f"one-web1-{name}.qcow2") for name in ("vda", "vdb")}
    assert snapshots.manifest["guests"]["web1"]["skipped"] == [{"disk": "sda", "reason": "a cdrom, or no medium"}]
    assert libvirt.virsh("snapshot-list", "--name", "web1") == "one"
    during = files(libvirt)
    second = Kind(EXTERNAL, "two", tmp_path)
    upper = LibvirtDisks("web1", "web1", second, libvirt.uri)
    asyncio.run(Snapshots(second, [GuestSnapshot("web1", None, upper)]).take())
    asyncio.run(upper.undo())
    assert files(libvirt) == during
    (tmp_path / "two.json").unlink()
    asyncio.run(control.undo())
    assert files(libvirt) == before
    assert libvirt.virsh("snapshot-list", "--name", "web1") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_what_libvirt_refuses_is_told(libvirt: Libvirt, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="only --external works"):
        LibvirtDisks("web1", "web1", Kind(INTERNAL, "one"), libvirt.uri)
    before = files(libvirt)
    kind = Kind(EXTERNAL, "one", tmp_path)
    control = LibvirtDisks("nobody", "web1", kind, libvirt.uri)
    with pytest.raises(SnapshotError, match="virsh dumpxml: error: failed to get domain 'nobody'"):
        asyncio.run(Snapshots(kind, [GuestSnapshot("web1", None, control)]).take())
    assert files(libvirt) == before
    assert not (tmp_path / "one.json").exists()


def test_a_snapshot_is_removed_though_virsh_did_not_tell_that_it_was_made(
    libvirt: Libvirt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if libvirtd had ended meanwhile."""
    before = files(libvirt)
    programs, target = tmp_path / "bin", tmp_path / "target"
    programs.mkdir()
    target.mkdir()
    script = '#!/bin/sh\n{0} "$@" || exit\ncase "$*" in *snapshot-create-as*) echo "lost" >&2; exit 1; esac\n'
    (programs / "virsh").write_text(script.format(shutil.which("virsh")))
    (programs / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    kind = Kind(EXTERNAL, "one", target)
    control = LibvirtDisks("web1", "web1", kind, libvirt.uri)
    with pytest.raises(SnapshotError, match="virsh snapshot-create-as: lost"):
        asyncio.run(Snapshots(kind, [GuestSnapshot("web1", None, control)]).take())
    assert files(libvirt) == before
    assert libvirt.virsh("snapshot-list", "--name", "web1") == ""
    assert list(target.iterdir()) == []
