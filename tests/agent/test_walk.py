"""The helper process that searches directories, while they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phoenix_ga.agent.helpers.walk import Walk, usage
from phoenix_ga.trees.report import Report


@pytest.mark.parametrize("becomes", ["nothing", "a link"])
def test_a_directory_that_is_exchanged_leads_nowhere(tmp_path: Path, becomes: str) -> None:
    (tmp_path / "top" / "inner").mkdir(parents=True)
    (tmp_path / "top" / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").touch()
    lines: list[str] = []
    report = Report(lines.append)
    found = []
    for path, status, _ in Walk(os.fsencode(tmp_path / "top"), -1, False, report).entries():
        found.append((os.path.basename(path), status is None))
        if path.endswith(b"inner") and status is not None:
            (tmp_path / "top" / "inner").rmdir()
            if becomes == "a link":
                (tmp_path / "top" / "inner").symlink_to("../elsewhere")
    assert sorted(found) == [(b"file", False), (b"inner", False), (b"inner", True), (b"top", False), (b"top", True)]
    assert (report.missing, lines[0].startswith(f"missing: {tmp_path}/top/inner: ")) == (1, True)


def test_a_directory_that_cannot_be_read_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(bytes(100_000))
    report = Report(lambda line: None)
    walk = Walk(os.fsencode(tmp_path), -1, False, report)
    opened = walk._open

    def refuse(path: bytes, name: bytes, parent: int | None) -> object:
        # As for a directory that is gone: root may read all others.
        return opened(path, b"gone" if path.endswith(b"inner") else name, parent)

    walk._open = refuse  # type: ignore[method-assign,assignment]
    written: list[str] = []
    usage(walk, -1, written.append)
    assert (len(written), report.missing) == (2, 1)
    assert sum("100000" in line for line in written) == 0
