"""Where the guest's packages come from: the Debian archives the host's own apt is set up with."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from lab.errors import LabError

_KEYRINGS = Path("/usr/share/keyrings")
_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
_APT_OPTION = re.compile(r"Acquire::(https?::|Retries|ForceIPv|Check-|Languages|Queue-Mode).*[^:] \"")


def host_suite() -> str:
    """The Debian release of the host by its code name, e.g. `bookworm`."""
    release: dict[str, str] = {}
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        release[name] = value.strip("\"'")
    if release.get("ID") != "debian" or not release.get("VERSION_CODENAME"):
        raise LabError("the host is not a Debian release: name the guest's with --suite, e.g. --suite bookworm")
    return release["VERSION_CODENAME"]


def source_lines(suite: str) -> list[str]:
    """The `deb` lines for `suite`, from the host's Debian archives (main only; other archives are ignored).

    `suite` may be another release than the host's: the same archives are then used for it. The variable
    PHOENIX_LAB_MIRROR (an archive's address) takes the place of the host's configuration.
    """
    keyring = _KEYRINGS / "debian-archive-keyring.gpg"
    options = f"[signed-by={keyring}] " if keyring.exists() else ""
    mirror = os.environ.get("PHOENIX_LAB_MIRROR")
    if mirror:
        return [f"deb {options}{mirror} {suite} main"]
    archives: set[tuple[str, str]] = set()
    for created_by, origin, codename, component, uri in _index_targets():
        if (created_by, origin, component) != ("Packages", "Debian", "main"):
            continue
        suffix = codename.partition("-")[2]
        if suffix in ("", "updates", "security"):
            archives.add((suffix, uri))
    if not any(suffix == "" for suffix, _ in archives):
        raise LabError(
            "apt on this host has no list of a Debian archive: run 'apt-get update' as root first, "
            "or name an archive in PHOENIX_LAB_MIRROR"
        )
    return [f"deb {options}{uri} {suite}{'-' if suffix else ''}{suffix} main" for suffix, uri in sorted(archives)]


def apt_options() -> list[str]:
    """The host's apt settings that decide how packages are fetched (proxies, checks), in apt.conf syntax."""
    dump = subprocess.run(["apt-config", "dump", "--no-empty"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return [line for line in dump.splitlines() if _APT_OPTION.match(line)]


def _index_targets() -> list[list[str]]:
    try:
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", _FORMAT], stdout=subprocess.PIPE, text=True, check=False
        ).stdout
    except FileNotFoundError:
        raise LabError("apt-get is missing: the guest image can only be built on Debian") from None
    rows = (line.split("|") for line in listing.splitlines())
    return [row for row in rows if len(row) == _FORMAT.count("|") + 1]
