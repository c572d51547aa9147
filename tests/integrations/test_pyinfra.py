"""The connector of pyinfra, with the real pyinfra and agents of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import SOURCE, AgentProcess

DEPLOY = """
from io import StringIO

from pyinfra import host
from pyinfra.operations import files, server

place = f"{host.data.place}/{host.name.rpartition('/')[2]}"
files.directory(path=place, mode="755")
files.put(src="blob", dest=f"{place}/blob", mode="640")
files.put(src=StringIO("text"), dest=f"{place}/text")
files.line(path=f"{place}/ports.conf", line="listen 80")
files.get(src=f"{place}/blob", dest=f"fetched-{host.name.rpartition('/')[2]}")
"""


def pyinfra(directory: Path, *words: str, status: int = 0) -> str:
    """Run pyinfra; return what it prints. Fail if its exit status is another one."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_CONFIG_HOME": str(directory), "COLUMNS": "200"}
    environment["PHOENIX_HUB_DIRECTORY"] = str(directory / "no-hub")
    command = [str(Path(sys.executable).parent / "pyinfra"), "-y", *words]
    result = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with AgentProcess(tmp_path / "1") as first, AgentProcess(tmp_path / "2") as second:
        (tmp_path / "phoenix").mkdir()
        guests = (
            f'web1 = "unix:{first.socket_path}"\nweb2 = "unix:{second.socket_path}"\ngone = "unix:{tmp_path}/no"\n'
        )
        (tmp_path / "phoenix" / "config.toml").write_text(f"sources = []\n[guests]\n{guests}")
        yield tmp_path


def test_a_deploy_changes_nothing_when_it_runs_again(directory: Path) -> None:
    blob = os.urandom(200_000) + b"\0\r\n\xff"
    (directory / "blob").write_bytes(blob)
    (directory / "deploy.py").write_text(DEPLOY)
    words = ("@phoenix/web1,@phoenix/web2", "--data", f"place={directory}/place", "deploy.py")
    assert "No changes" not in pyinfra(directory, *words)
    for name in ("web1", "web2"):
        place = directory / "place" / name
        assert (place / "blob").read_bytes() == blob
        assert (place / "blob").stat().st_mode & 0o777 == 0o640
        assert (place / "text").read_text() == "text"
        assert (place / "ports.conf").read_text() == "listen 80\n"
        assert (directory / f"fetched-{name}").read_bytes() == blob
    output = pyinfra(directory, *words)
    assert output.count("No changes") == 10
    assert "Success\n" not in output.partition("Results")[0]


def test_commands_and_errors(directory: Path) -> None:
    output = pyinfra(directory, "@phoenix/web1", "exec", "--", "echo out; echo err >&2")
    assert "] out\n" in output
    assert "] err\n" in output
    output = pyinfra(directory, "@phoenix/web1", "exec", "--", "exit 3", status=1)
    assert "Error" in output
    assert "no such socket" in pyinfra(directory, "@phoenix/gone", "exec", "--", "true", status=1)


@pytest.mark.root
def test_another_user(directory: Path) -> None:
    (directory / "deploy.py").write_text(
        "from pyinfra.operations import server\n"
        "server.shell(commands=['test $(id -un) = nobody'], _su_user='nobody', _su_shell='/bin/sh')\n"
    )
    assert "Success" in pyinfra(directory, "@phoenix/web1", "deploy.py")
