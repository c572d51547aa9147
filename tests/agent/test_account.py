"""The environment that a program gets, as a login would set it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from phoenix_ga.agent.operations import account
from phoenix_ga.agent.operations.account import Account

FILES = {
    "lines that pam_env reads": (
        "# a comment\nLANG=de_DE.UTF-8\n export  TZ=UTC # why\nPATH=\"/bin:/opt/my tools\"\nQUOTED='it'\n",
        {"LANG": "de_DE.UTF-8", "TZ": "UTC", "PATH": "/bin:/opt/my tools", "QUOTED": "it"},
    ),
    "lines that are none": ("1=2\nA-B=c\nwords\n=x\n\nNUL=a\0b\n", {}),
    "who the user is": ("USER=mallory\nHOME=/nowhere\n", {}),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES.keys())
def test_variables_of_all_logins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: dict[str, str]
) -> None:
    (tmp_path / "environment").write_text(text)
    monkeypatch.setattr(account, "_ENVIRONMENT_FILES", (str(tmp_path / "environment"), str(tmp_path / "none")))
    monkeypatch.setattr(account, "_RUNTIME_DIRECTORIES", str(tmp_path))
    entry = pwd.getpwuid(os.geteuid())
    assert Account("").environment() == {
        "PATH": account._PATH,
        **expected,
        "HOME": entry.pw_dir,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell,
        "USER": entry.pw_name,
    }


def test_the_later_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment").write_text("LANG=C\nOTHER=1\n")
    (tmp_path / "locale").write_text('LANG="C.UTF-8"\n')
    monkeypatch.setattr(account, "_ENVIRONMENT_FILES", (str(tmp_path / "environment"), str(tmp_path / "locale")))
    variables = Account("").environment()
    assert (variables["LANG"], variables["OTHER"]) == ("C.UTF-8", "1")


def test_the_runtime_directory_of_a_user_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_RUNTIME_DIRECTORIES", str(tmp_path))
    assert "XDG_RUNTIME_DIR" not in Account("").environment()
    own = tmp_path / str(os.geteuid())
    own.mkdir()
    assert Account("").environment()["XDG_RUNTIME_DIR"] == str(own)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_runtime_directory_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_RUNTIME_DIRECTORIES", str(tmp_path))
    own = tmp_path / str(os.geteuid())
    own.mkdir()
    os.chown(own, 12345, 12345)
    assert "XDG_RUNTIME_DIR" not in Account("").environment()
