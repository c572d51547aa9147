"""Editing a file of a guest: no edit is lost, and none overwrites another."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run, command_line, environment
from tests.support import AgentProcess, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a file of the guest, and one for what phoenixctl keeps."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "file.conf").write_text("old\n")
    (tmp_path / "file.conf").chmod(0o640)
    return tmp_path


def editor(place: Path, script: str) -> dict[str, str]:
    """Return the variables with which a shell script is the editor; $1 is the file."""
    (place / "editor").write_text(f"#!/bin/sh\n{script}\n")
    (place / "editor").chmod(0o755)
    return {"EDITOR": str(place / "editor"), "VISUAL": "", "TMPDIR": str(place / "kept")}


def kept(place: Path) -> list[str]:
    """Return the texts that phoenixctl left on this host."""
    return [path.read_text() for path in sorted((place / "kept").rglob("*")) if path.is_file()]


def test_a_changed_text_replaces_the_file(run: Run, endpoint: str, place: Path) -> None:
    (place / "link").symlink_to("file.conf")
    result = run("edit", f"{endpoint}:{place}/link", **editor(place, 'basename "$1" > name; sed -i s/old/new/ "$1"'))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (place / "file.conf").read_text() == "new\n"
    assert stat.S_IMODE((place / "file.conf").stat().st_mode) == 0o640
    assert kept(place) == []
    assert os.listdir(place / "kept") == []


def test_the_editor_sees_the_name_of_the_file(run: Run, endpoint: str, place: Path) -> None:
    run("edit", f"{endpoint}:{place}/file.conf", **editor(place, f'basename "$1" > {place}/name'))
    assert (place / "name").read_text() == "file.conf\n"


def test_an_unchanged_text_writes_nothing(run: Run, endpoint: str, place: Path) -> None:
    before = (place / "file.conf").stat()
    result = run("edit", f"{endpoint}:{place}/file.conf", **editor(place, "true"))
    assert (result.returncode, "has not changed" in result.stderr) == (0, True)
    after = (place / "file.conf").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert os.listdir(place / "kept") == []


def test_a_new_file_is_created(run: Run, endpoint: str, place: Path) -> None:
    assert run("edit", f"{endpoint}:{place}/new", **editor(place, 'echo text > "$1"')).returncode == 0
    assert (place / "new").read_text() == "text\n"
    result = run("edit", f"{endpoint}:{place}/no/file", **editor(place, 'echo text > "$1"'))
    assert (result.returncode, kept(place)) == (1, [])


@pytest.mark.parametrize("name", ["file.conf", "new"])
def test_what_the_guest_wrote_meanwhile_is_not_overwritten(run: Run, endpoint: str, place: Path, name: str) -> None:
    script = f'echo theirs >> {place}/{name}; echo mine > "$1"'
    result = run("edit", f"{endpoint}:{place}/{name}", **editor(place, script))
    assert (result.returncode, "has changed meanwhile" in result.stderr) == (1, True)
    assert (place / name).read_text().endswith("theirs\n")
    assert kept(place) == ["mine\n"]
    assert str(place / "kept") in result.stderr


def test_a_failed_editor_writes_nothing_and_its_text_is_kept(run: Run, endpoint: str, place: Path) -> None:
    for script, text in (
        ("exit 3", []),
        ('echo mine > "$1"; exit 3', ["mine\n"]),
        ('echo 2 > "$1"; kill -9 $$', None),
    ):
        result = run("edit", f"{endpoint}:{place}/file.conf", **editor(place, script))
        assert (result.returncode, "nothing was written" in result.stderr) == (1, True)
        assert (place / "file.conf").read_text() == "old\n"
        if text is not None:
            assert kept(place) == text
    assert sorted(kept(place)) == ["2\n", "mine\n"]


def test_a_missing_editor_is_told(run: Run, endpoint: str, place: Path) -> None:
    result = run("edit", f"{endpoint}:{place}/file.conf", **{**editor(place, ""), "EDITOR": "/no/editor"})
    assert (result.returncode, "/no/editor: No such file" in result.stderr) == (1, True)
    assert os.listdir(place / "kept") == []


def test_a_lost_guest_loses_no_text(run: Run, place: Path) -> None:
    with AgentProcess(place) as agent:
        script = f'kill {agent.process.pid}; while kill -0 {agent.process.pid}; do sleep 0.1; done; echo mine > "$1"'
        with subprocess.Popen(
            command_line("edit", f"unix:{agent.socket_path}:{place}/file.conf"),
            env=environment(**editor(place, script)),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            agent.process.wait(30)
            errors = process.communicate(timeout=60)[1]
    assert process.returncode == 125
    assert kept(place) == ["mine\n"]
    assert str(place / "kept") in errors


@pytest.mark.root
@pytest.mark.programs("mount")
def test_a_full_disk_keeps_the_old_file_and_the_text(run: Run, endpoint: str, place: Path) -> None:
    (place / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place / "small"], check=True)
    try:
        (place / "small" / "file").write_text("old\n")
        script = 'head -c 200000 /dev/zero > "$1"'
        result = run("edit", f"{endpoint}:{place}/small/file", **editor(place, script))
        assert (result.returncode, "No space left on device" in result.stderr) == (1, True)
        assert (place / "small" / "file").read_text() == "old\n"
        assert [len(text) for text in kept(place)] == [200_000]
    finally:
        subprocess.run(["umount", place / "small"], check=True)


def test_ctrl_c_is_for_the_editor(endpoint: str, place: Path) -> None:
    script = f'trap "echo mine > \\"$1\\"; exit 0" INT; touch {place}/started; while :; do sleep 0.1; done'
    with subprocess.Popen(
        command_line("edit", f"{endpoint}:{place}/file.conf"),
        env=environment(**editor(place, script)),
        start_new_session=True,
    ) as process:
        try:
            wait_for((place / "started").exists)
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(40) == 0
        finally:
            process.kill()
    assert (place / "file.conf").read_text() == "mine\n"


def test_directories_and_several_guests_are_not_edited(run: Run, endpoint: str, place: Path) -> None:
    assert run("edit", f"{endpoint}:{place}", **editor(place, "true")).returncode == 1
    assert run("edit", f"{endpoint},{endpoint}:{place}/x", **editor(place, "true")).returncode == 2
