"""Modes mean what they mean to chmod(1)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
import pytest

from phoenix_ga.cli.modes import Mode

MODES = (
    *("0", "7", "644", "0644", "2755", "07777", "00644", "4711"),
    *("u=rw", "go-w", "a+x", "+x", "+w", "-w", "=r", "=", "a=", "u=rwx,go=rx", "ug+s", "g+s", "o+s", "+s", "-s"),
    *(
        "+t",
        "o+t",
        "u+t",
        "a-t",
        "u+X",
        "a+X",
        "a-x,a+X",
        "g=u",
        "o=g",
        "u+g",
        "go-u",
        "u=rwX,g=u",
        "+r-w",
        "u+r-w=x",
    ),
    *("=u", "+o", "ugo+rwxst", "a=rX", "u-s,g-s", "-x"),
)


@pytest.mark.parametrize("text", MODES)
def test_a_mode_does_what_chmod_does(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    for name in ("file", "directory"):
        for before in (0o000, 0o644, 0o755, 0o6750, 0o1777, 0o4111):
            path = tmp_path / name
            path.chmod(before)
            subprocess.run(["sh", "-c", 'umask 022; chmod -- "$@" 2>/dev/null', "sh", text, path], check=False)
            expected = os.stat(path).st_mode & 0o7777
            assert Mode.parse(text).apply(before, path.is_dir()) == expected, (name, oct(before))


@pytest.mark.parametrize(
    "text", ["", "8", "10000", "u", "u=z", "x+r", "u=rw,", ",", "u~r", "rw", "u=ug", "٦٤٤", "-1"]
)
def test_what_is_no_mode_is_said_to_be_none(text: str) -> None:
    with pytest.raises(click.UsageError, match="is not a mode"):
        Mode.parse(text)
