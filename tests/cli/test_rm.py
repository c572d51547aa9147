"""Removing files and directories of a guest."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from phoenix_ga.agent.operations import removal
from tests.cli.conftest import Run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file, a directory that is not empty, and links out of it."""
    top = tmp_path / "tree"
    (top / "below" / "deeper").mkdir(parents=True)
    (top / "below" / "file").write_text("text")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (top / "below" / "link").symlink_to(tmp_path / "kept")
    (top / "link").symlink_to("/nowhere")
    os.mkfifo(top / "fifo")
    return top


def test_files_and_links_are_removed_and_directories_only_if_asked_for(run: Run, endpoint: str, tree: Path) -> None:
    assert run("rm", f"{endpoint}:{tree}/link", f"{endpoint}:{tree}/fifo").returncode == 0
    assert os.listdir(tree) == ["below"]
    result = run("rm", f"{endpoint}:{tree}/below")
    assert result.returncode == 1
    assert f"{tree}/below: Is a directory; use -r" in result.stderr
    assert run("rm", "-d", f"{endpoint}:{tree}/below/deeper").returncode == 0
    result = run("rm", "-d", f"{endpoint}:{tree}/below")
    assert "Directory not empty" in result.stderr
    assert sorted(os.listdir(tree / "below")) == ["file", "link"]


def test_a_directory_is_removed_with_its_contents_but_not_what_links_lead_to(
    run: Run, endpoint: str, tree: Path
) -> None:
    assert run("rm", "-r", f"{endpoint}:{tree}").returncode == 0
    assert not tree.exists()
    assert (tree.parent / "kept" / "file").read_text() == "kept"


def test_a_missing_file_is_an_error_unless_ignored(run: Run, endpoint: str, tree: Path) -> None:
    result = run("rm", f"{endpoint}:{tree}/no", f"{endpoint}:{tree}/link")
    assert result.returncode == 1
    assert f"{tree}/no: No such file or directory" in result.stderr
    assert not (tree / "link").is_symlink()
    assert run("rm", "-f", f"{endpoint}:{tree}/no").returncode == 0


def test_the_root_directory_stays(run: Run, endpoint: str) -> None:
    assert "the root directory cannot be removed" in run("rm", "-r", f"{endpoint}:/").stderr
    assert "the root directory cannot be removed" in run("rm", "-r", f"{endpoint}:/tmp/..").stderr


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    stop = threading.Event()

    def exchange() -> None:
        new, victim = tmp_path / "tree" / "new", tmp_path / "tree" / "victim"
        while not stop.is_set():
            with contextlib.suppress(OSError):
                new.mkdir()
                new.rename(victim)
            with contextlib.suppress(OSError):
                new.symlink_to(kept)
                victim.rmdir()
                new.rename(victim)

    thread = threading.Thread(target=exchange)
    thread.start()
    for _ in range(300):
        (tmp_path / "tree").mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            removal.remove(str(tmp_path / "tree"), recursive=True)
    stop.set()
    thread.join()
    assert (kept / "file").read_text() == "kept"
