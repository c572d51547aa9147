"""What is made on the host to install the agent: user data, an ISO image, and the first steps of a deployment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.cli.boot_script import boot_hook
from tests.cli.conftest import Run
from tools.build_pyz import build

# Compressing the agent takes a while on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"
    build(path)
    return path


def test_the_user_data_has_the_whole_agent(run: Run, archive: Path, tmp_path: Path) -> None:
    result = run("cloud-init", "--profile", "backup", "--agent", str(archive))
    assert result.stdout.startswith("#cloud-boothook\n#!/bin/sh\n")
    assert result.stdout == boot_hook(archive.read_bytes(), ["--profile", "backup"])
    # With a guest's programs replaced by what shows that they are called.
    hook = result.stdout.replace("/usr/sbin/phoenix-ga", str(tmp_path / "absent")).replace("/run/", f"{tmp_path}/")
    hook = hook.replace('phoenix-ga.pyz" --install --profile backup', 'phoenix-ga.pyz" --version')
    done = subprocess.run(["sh"], input=hook, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.programs("xorriso")
def test_the_image_has_the_agent_and_an_installer(run: Run, archive: Path, tmp_path: Path) -> None:
    image = tmp_path / "agent.iso"
    assert run("agent-iso", "--replace-qemu-ga", "--agent", str(archive), str(image)).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["agent.iso"]
    for name in ("install", "phoenix-ga.pyz"):
        command = ["xorriso", "-osirrox", "on", "-indev", str(image), "-extract", f"/{name}", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "phoenix-ga.pyz").read_bytes() == archive.read_bytes()
    assert "--install --replace-qemu-ga" in (tmp_path / "install").read_text()
    shown = subprocess.run(
        [sys.executable, tmp_path / "phoenix-ga.pyz", "--version"], capture_output=True, check=True
    )
    assert shown.stdout.decode() == f"{__version__}\n"


def test_wrong_usage_is_told_before_anything_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    for words, text in (
        (("deploy",), "Name either GUEST or --ssh HOST"),
        (("deploy", "--agent", str(tmp_path / "absent"), "/run/x.sock"), "There is no file"),
        (("deploy", "--agent", str(tmp_path / "text"), "/run/x.sock"), "is not a phoenix-ga.pyz"),
    ):
        result = run(*words)
        assert (result.returncode, text in result.stderr) == (2, True), result
