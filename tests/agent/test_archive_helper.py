"""The helper process that packs and unpacks directories."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from phoenix_ga.agent.helpers.archive import sync_filesystem, sync_together
from phoenix_ga.trees.batch import NewFile
from phoenix_ga.trees.members import END
from tests.support import SOURCE

FAILING_SYNC = """
import os, sys
from phoenix_ga.agent.helpers import archive
def fail(fd):
    raise OSError(5, os.strerror(5))
archive.sync_filesystem = fail
archive.main()
"""


def test_a_filesystem_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    sync_filesystem(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        sync_filesystem(fd)
    assert caught.value.errno == errno.EBADF


def test_what_did_not_get_to_the_disk_is_no_success(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAILING_SYNC, "put", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    result = subprocess.run(command, input=END, stderr=subprocess.PIPE, env=environment, check=False)
    assert (result.returncode, result.stderr) == (2, b"missing: %s: Input/output error\n" % os.fsencode(tmp_path))


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "4.18.0-553.el8", "odd"])
@pytest.mark.parametrize("error", [False, True])
def test_files_are_synced_with_their_filesystem_where_that_reports_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, error: bool
) -> None:
    synced: list[str] = []

    def syncfs(fd: int) -> None:
        synced.append("filesystem")
        if error:
            raise OSError(errno.EIO, "cannot write back the filesystem")

    def uname() -> SimpleNamespace:
        return SimpleNamespace(release=release)

    plain = os.fsync

    def fsync(fd: int) -> None:
        synced.append("file")
        plain(fd)

    monkeypatch.setattr("phoenix_ga.agent.linux.syncfs.syncfs", syncfs)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "uname", uname)
    directory = os.open(tmp_path, os.O_RDONLY)
    files = [NewFile(directory, b"%d" % number, b"%d" % number) for number in range(3)]
    sync_together(files)
    for file in files:
        file.finish()
    os.close(directory)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    reliable = release.startswith("6")
    assert synced == ["filesystem"] * reliable + ["file"] * 3 * (error or not reliable)
