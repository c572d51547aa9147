"""What is made on the host to install the agent: user data, an ISO image, and the first steps of a deployment."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga import __version__
from phoenix_ga.cli.boot_script import boot_hook
from phoenix_ga.client import SILENCE
from phoenix_ga.wire.messages import Request
from tests.cli.conftest import Run
from tests.ends.agent import ScriptedAgent
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


class StockGuest:
    """A script of a stock qemu-ga, in whose guest the installation then ends as `outcome` says."""

    def __init__(self, script: ScriptedAgent, outcome: str) -> None:
        self._outcome = outcome
        self._replaced = False
        self._reports = 0
        self._output = ""
        script.answers = {
            "guest-sync-delimited": lambda request: b'\xff{"return": %d}\n' % request.arguments["id"],
            "guest-sync": lambda request: request.arguments["id"],
            "guest-info": {"version": "7.2.0", "supported_commands": []},
            "guest-file-open": 1,
            "guest-file-write": lambda request: {"count": len(base64.b64decode(request.arguments["buf-b64"]))},
            "guest-file-close": {},
            "guest-exec": self.execute,
            "guest-exec-status": self.status,
            "ping": self.ping,
            "sysinfo": self.ping,
        }

    def execute(self, request: Request) -> Any:
        self._output = ""
        if request.arguments["path"] == "/bin/cat":
            self._reports += 1
            self._replaced = self._outcome != "refused" and self._reports > 1
            if self._outcome == "silent" and self._replaced:
                return SILENCE
            self._output = "that is forbidden\nstatus 1\n" if self._outcome == "refused" else "it runs\n"
        return {"pid": 7}

    def status(self, request: Request) -> Any:
        return {"exited": True, "exitcode": 0, "out-data": base64.b64encode(self._output.encode()).decode()}

    def ping(self, request: Request) -> Any:
        # qemu-ga knows neither the command nor tags.
        return __version__ if self._replaced else b'{"error": {"class": "CommandNotFound", "desc": "unknown"}}\n'


@pytest.mark.parametrize(
    ("outcome", "status", "told"),
    [
        ("refused", 1, "phoenixctl: that is forbidden"),
        # The report of a success may still be read.
        ("reported", 0, f"the agent {__version__} is installed, and answers"),
        # qemu-ga is stopped, and takes a request with it.
        ("silent", 0, f"the agent {__version__} is installed, and answers"),
    ],
)
def test_the_new_agent_is_found_however_its_predecessor_ends(
    run: Run, scripted: ScriptedAgent, archive: Path, outcome: str, status: int, told: str
) -> None:
    StockGuest(scripted, outcome)
    result = run("deploy", "--profile", "backup", "--agent", str(archive), scripted.endpoint)
    assert (result.returncode, told in result.stdout + result.stderr) == (status, True), result
