"""The Debian packages: lintian finds nothing, and each has what it needs, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.debian_packages import PROGRAMS, built_packages
from tools import build_deb
from tools.matrix import project

pytestmark = [pytest.mark.programs(*PROGRAMS), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    """The packages, by name."""
    return built_packages()


def content(package: Path) -> set[str]:
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    listing = subprocess.run(["tar", "-t"], input=archive, check=True, capture_output=True).stdout
    return set(listing.decode().splitlines())


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_versions_sort_as_they_should() -> None:
    versions = [build_deb.debian_version(each) for each in ("1.0.0.dev0", "1.0.0a1", "1.0.0rc1", "1.0.0", "1.0.1")]
    for older, newer in zip(versions, versions[1:]):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=True)


def test_the_guest_gets_the_agent_and_nothing_of_the_hosts(packages: dict[str, Path]) -> None:
    names = content(packages["phoenix-guest-agent"])
    home = "./usr/share/phoenix-guest-agent"
    assert {
        "./usr/sbin/phoenix-ga",
        "./usr/sbin/phoenix-qemu-ga",
        "./etc/phoenix-ga.conf",
        "./etc/init.d/phoenix-ga",
        "./lib/systemd/system/phoenix-ga.service",
        "./lib/udev/rules.d/60-phoenix-guest-agent.rules",
        "./usr/share/man/man8/phoenix-ga.8.gz",
        f"{home}/phoenix_ga/agent/__main__.py",
        f"{home}/profiles/backup.conf",
    } <= {
        name.replace("./usr/lib/systemd", "./lib/systemd").replace("./usr/lib/udev", "./lib/udev") for name in names
    }
    assert {name.split("/")[5] for name in names if name.startswith(f"{home}/phoenix_ga/")} == {
        "", "__init__.py", "agent", "trees", "wire",
    }  # fmt: skip
    assert not [name for name in names if name.endswith(".pyc")]
    assert field(packages["phoenix-guest-agent"], "Depends") == "python3:any (>= 3.9)"
    assert not field(packages["phoenix-guest-agent"], "Conflicts")
    # apt would remove a conflicting package before the maintainer script of this one can refuse.
    assert not field(packages["phoenix-guest-agent-qemu-ga"], "Conflicts")
    assert field(packages["phoenix-guest-agent-qemu-ga"], "Provides") == "qemu-guest-agent"


def test_the_host_gets_phoenixctl_and_not_the_agent(packages: dict[str, Path]) -> None:
    names = content(packages["phoenixctl"])
    modules = "./usr/lib/python3/dist-packages/phoenix_ga"
    assert {
        "./usr/bin/phoenixctl",
        f"{modules}/client/guest.py",
        "./usr/share/man/man1/phoenixctl.1.gz",
        "./usr/share/bash-completion/completions/phoenixctl",
        "./usr/share/zsh/vendor-completions/_phoenixctl",
        "./usr/share/fish/vendor_completions.d/phoenixctl.fish",
    } <= names
    assert not [name for name in names if name.startswith(f"{modules}/agent") or "sbin" in name]


def test_the_host_gets_each_library_that_the_python_package_needs(packages: dict[str, Path]) -> None:
    depends = field(packages["phoenixctl"], "Depends")
    for requirement in project()["project"]["optional-dependencies"]["host"]:
        # What older versions of Python need has a marker.
        name, lowest = requirement.split(",")[0].split(">=")
        assert "python_version" in requirement or f"python3-{name} (>= {lowest})" in depends


def test_an_upgrade_stops_no_service(packages: dict[str, Path], tmp_path: Path) -> None:
    """The agent may be what runs the package manager; its maintainer script restarts it afterwards."""
    for name, package in packages.items():
        subprocess.run(["dpkg-deb", "--control", package, tmp_path / name], check=True)
        scripts = [path for path in (tmp_path / name).iterdir() if path.name in ("preinst", "prerm", "postrm")]
        assert not [path for path in scripts if "= upgrade ]" in path.read_text()]
