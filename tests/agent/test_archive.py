"""The agent as one file: it runs on every interpreter that is here, from byte code where it has some."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.client import connect_sync
from tests.ends.client import LineClient
from tests.support import SOURCE
from tools import build_native
from tools.build_pyz import BYTE_CODE_VERSIONS, DATA, build, interpreters, modules, without_docstrings

INTERPRETERS = list(interpreters())
WITH_BYTE_CODE = list(interpreters(BYTE_CODE_VERSIONS))
# Byte code for three interpreters, and the source for the others; a fourth would break it.
SIZE_MAX = 2 << 20


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"
    assert len(build(path)) == len(WITH_BYTE_CODE)
    return path


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_archive_runs(archive: Path, tmp_path: Path, interpreter: str) -> None:
    socket = tmp_path / "s"
    command = [interpreter, "-I", str(archive), "-p", f"unix:{socket}", "-c", "/dev/null"]
    process = subprocess.Popen([*command, "--run-directory", str(tmp_path / "run")], stderr=subprocess.DEVNULL)
    try:
        with LineClient.reach(socket) as client:
            assert client.call("ping") == __version__
            assert client.read_file("/etc/hostname") == Path("/etc/hostname").read_bytes()
            assert "lo" in [link["name"] for link in client.call("get-netifaces")]
            assert client.call("sysinfo")["uname"]["sysname"] == "Linux"
            assert client.call("get-freeze-status") is False
            with connect_sync(f"unix:{socket}") as guest:
                guest.put_tree(SOURCE / "phoenix_ga" / "wire", str(tmp_path / "there"))
                guest.get_tree(str(tmp_path / "there"), tmp_path / "back")
            for copied in (SOURCE / "phoenix_ga" / "wire").glob("*.py"):
                assert (tmp_path / "back" / copied.name).read_bytes() == copied.read_bytes()
            client.send(b"nonsense\n")
            assert "error" in client.answer()
            client.call("agent-shutdown")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_the_archive_is_a_program_of_its_own(archive: Path, tmp_path: Path) -> None:
    installed = tmp_path / "phoenix-ga"
    installed.write_bytes(archive.read_bytes())
    installed.chmod(0o755)
    assert subprocess.run([installed, "-v"], capture_output=True, text=True, check=True).stdout == f"{__version__}\n"


def test_the_archive_under_the_name_of_qemu_ga_takes_its_options(archive: Path, tmp_path: Path) -> None:
    for name in ("qemu-ga", "phoenix-qemu-ga"):
        installed = tmp_path / name
        installed.symlink_to(archive)
        dumped = subprocess.run([installed, "-r", "-D"], capture_output=True, text=True, check=True).stdout
        assert "retry-path=true" in dumped


def test_the_archive_holds_the_guests_side_only(archive: Path) -> None:
    names = zipfile.ZipFile(archive).namelist()
    assert not [name for name in names if "/client/" in name or "/cli/" in name]
    waiters = len(list(build_native.TARGET.glob("phoenix-wait-*")))
    assert len(names) == 1 + (len(modules()) + len(DATA) + waiters) * (1 + len(WITH_BYTE_CODE))


def test_the_archive_is_small(archive: Path) -> None:
    assert archive.stat().st_size <= SIZE_MAX


def test_the_same_source_gives_the_same_archive(archive: Path, tmp_path: Path) -> None:
    build(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_code_in_the_archive_has_the_lines_of_the_source() -> None:
    text = '''"""Module."""\n\ndef f():\n    """Two\n    lines."""\n    return 1\n\nclass A:\n    """Alone."""\n'''
    stripped = without_docstrings(text)
    assert stripped.count("\n") == text.count("\n")
    assert "lines" not in stripped
    assert stripped.split("\n")[5] == "    return 1"
    compile(stripped, "text", "exec")
