"""The helper process that packs and unpacks directories."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga.agent.archive import sync_filesystem
from phoenix_ga.trees.members import END
from tests.support import SOURCE

FAILING_SYNC = """
import os, sys
from phoenix_ga.agent import archive
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
