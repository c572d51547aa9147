"""The fixture of phoenix_ga.testing that boots a guest, with the image of the lab."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lab.files import TransferDisk
from lab.hardware import KERNEL_ARGUMENTS
from lab.image import ensure_image
from tests.testing.test_plugin import run_pytest, write_example
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]


def test_the_example_with_a_guest_works(tmp_path: Path) -> None:
    write_example(tmp_path)
    image = ensure_image()
    # The lab's image has no agent, and is booted with a kernel: its files come with a disk.
    disk = TransferDisk(tmp_path)
    disk.put(agent_files(tmp_path / "phoenix-ga.pyz"))
    arguments = [
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", " ".join(KERNEL_ARGUMENTS)),
        *("-drive", f"if=none,id=transfer,file={tmp_path / TransferDisk.NAME},format=raw"),
        *("-device", f"virtio-blk-pci,drive=transfer,serial={TransferDisk.SERIAL}"),
    ]
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nphoenix_image = {image.root}\nphoenix_qemu_arguments = {shlex.join(arguments)}\n"
    )
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout
