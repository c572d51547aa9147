"""Guests that come and go are noticed, without polling."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.libvirt import Libvirt
from phoenix_ga.hub.changes import Changes
from tests.support import SOURCE

DOMAIN = """<domain type='qemu'><name>web1</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""


def is_noticed(directories: list[Path], *deeds: Callable[[], object]) -> list[bool]:
    """Return which deeds are noticed."""

    async def story() -> list[bool]:
        changes = Changes(directories)
        noticed = []
        for deed in deeds:
            deed()
            try:
                await asyncio.wait_for(changes.wait(), 0.3)
                noticed.append(True)
            except asyncio.TimeoutError:
                noticed.append(False)
        changes.close()
        return noticed

    return asyncio.run(story())


def test_a_change_in_a_directory_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "web1.xml"
    assert is_noticed([tmp_path], file.touch, lambda: None, file.unlink) == [True, False, True]


def test_a_directory_that_comes_later_is_watched_and_what_is_beside_it_is_not(tmp_path: Path) -> None:
    """libvirt may be started, or installed, after the hub."""
    wanted = tmp_path / "run" / "libvirt" / "qemu"
    assert is_noticed(
        [wanted],
        (tmp_path / "other").touch,
        (tmp_path / "run").mkdir,
        (tmp_path / "run" / "libvirt").mkdir,
        (tmp_path / "run" / "libvirt" / "sock").touch,
        wanted.mkdir,
        (wanted / "web1.xml").touch,
        (wanted / "web1.xml").unlink,
        wanted.rmdir,
        lambda: wanted.mkdir(),
        (wanted / "web2.xml").touch,
    ) == [False, False, False, False, True, True, True, True, True, True]


def test_a_directory_below_one_that_is_watched_does_not_hide_its_changes(tmp_path: Path) -> None:
    (tmp_path / "web1.xml").touch()
    directories = [tmp_path, tmp_path / "channel"]
    assert is_noticed(directories, (tmp_path / "web1.xml").unlink, (tmp_path / "channel").mkdir) == [True, True]


# Prints a line for each change that libvirt tells.
_FOLLOW = """
import asyncio, sys
from pathlib import Path
from phoenix_ga.hub.libvirt_events import LibvirtEvents
async def main(uri, socket):
    events = LibvirtEvents(lambda: print("changed", flush=True), uri, Path(socket))
    events.connect()
    await asyncio.sleep(600)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.root
@pytest.mark.programs("virsh", "libvirtd", "qemu-system-x86_64")
@pytest.mark.timeout(300)
def test_libvirt_tells_of_domains_that_come_and_go(tmp_path: Path) -> None:
    if subprocess.run(["/usr/bin/python3", "-c", "import libvirt"], capture_output=True).returncode:
        pytest.skip("needs python3-libvirt")
    (tmp_path / "domain.xml").write_text(DOMAIN)
    with Libvirt() as libvirt:
        socket = libvirt.directory / "run" / "libvirt-sock-ro"
        # Debian's Python has the library.
        program = subprocess.Popen(
            ["/usr/bin/python3", "-c", _FOLLOW, f"qemu+unix:///system?socket={socket}", str(socket)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{SOURCE}:{sysconfig.get_path('purelib')}"},
        )
        with program:
            assert program.stdout is not None
            try:
                # It is connected.
                assert program.stdout.readline() == b"changed\n"
                libvirt.virsh("create", "--paused", tmp_path / "domain.xml")
                assert program.stdout.readline() == b"changed\n"
                libvirt.virsh("destroy", "web1")
                assert program.stdout.readline() == b"changed\n"
            finally:
                program.kill()
