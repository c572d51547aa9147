"""Setting the size of files of a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(("size", "length"), [("0", 0), ("3", 3), ("5", 5), ("1K", 1024), ("3T", 3 << 40)])
def test_a_file_gets_the_size(run: Run, endpoint: str, tmp_path: Path, size: str, length: int) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert run("truncate", "-s", size, f"{endpoint}:{tmp_path}/link").returncode == 0
    assert (tmp_path / "file").stat().st_size == length
    with (tmp_path / "file").open("rb") as file:
        assert file.read(5) == b"text".ljust(5, b"\0")[: min(5, length)]


def test_a_missing_file_is_created_unless_it_must_not_be(run: Run, endpoint: str, tmp_path: Path) -> None:
    assert run("truncate", "-c", "-s", "5", f"{endpoint}:{tmp_path}/new").returncode == 0
    assert not (tmp_path / "new").exists()
    assert run("truncate", "-s", "5", f"{endpoint}:{tmp_path}/new").returncode == 0
    assert (tmp_path / "new").read_bytes() == bytes(5)


def test_a_directory_has_no_size_to_set(run: Run, endpoint: str, tmp_path: Path) -> None:
    result = run("truncate", "-s", "5", f"{endpoint}:{tmp_path}")
    assert (result.returncode, "Is a directory" in result.stderr) == (1, True)


@pytest.mark.parametrize("size", ["", "x", "-1", "1.5G", "9999999T", "K"])
def test_a_size_that_is_none_is_wrong_usage(run: Run, endpoint: str, tmp_path: Path, size: str) -> None:
    (tmp_path / "file").write_bytes(b"text")
    result = run("truncate", f"--size={size}", f"{endpoint}:{tmp_path}/file")
    assert (result.returncode, "is not a number of bytes" in result.stderr) == (2, True)
    assert (tmp_path / "file").read_bytes() == b"text"
