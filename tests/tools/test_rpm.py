"""The RPM packages: rpmlint finds nothing, and each has what it needs, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import build_rpm

pytestmark = [pytest.mark.programs("rpmbuild", "rpmlint"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, by name. A complaint of rpmlint fails the build."""
    files = build_rpm.build(tmp_path_factory.mktemp("rpm") / "build")
    return {path.name.rpartition("-")[0].rpartition("-")[0]: path for path in files if ".src." not in path.name}


def query(package: Path, what: str) -> set[str]:
    command = ["rpm", "--query", "--package", f"--{what}", str(package)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def test_the_split_is_that_of_the_debian_packages(packages: dict[str, Path]) -> None:
    guest, host = (query(packages[name], "list") for name in ("phoenix-guest-agent", "phoenixctl"))
    home = "/usr/share/phoenix-guest-agent"
    assert {
        "/usr/sbin/phoenix-ga",
        "/etc/phoenix-ga.conf",
        "/usr/lib/systemd/system/phoenix-ga.service",
        "/usr/lib/udev/rules.d/60-phoenix-ga.rules",
        "/usr/share/man/man8/phoenix-ga.8.gz",
        f"{home}/phoenix_ga/agent/__main__.py",
        f"{home}/profiles/backup.conf",
    } <= guest
    assert not [name for name in guest if "/cli" in name or "/client" in name or name.endswith(".pyc")]
    assert {
        "/usr/bin/phoenixctl",
        "/usr/share/man/man1/phoenixctl.1.gz",
        "/usr/share/bash-completion/completions/phoenixctl",
        "/usr/share/zsh/site-functions/_phoenixctl",
        "/usr/share/fish/vendor_completions.d/phoenixctl.fish",
    } <= host
    assert not [name for name in host if "/phoenix_ga/agent" in name or "sbin" in name]
    assert query(packages["phoenix-guest-agent-qemu-ga"], "conflicts") == {"qemu-guest-agent"}
    assert "python3 >= 3.9" in query(packages["phoenix-guest-agent"], "requires")
