"""The Debian archives that the guest's packages come from: those of the host's apt configuration."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError

#: Releases whose support has ended: the archive of security updates still lists packages that it no longer has.
UNSUPPORTED_RELEASES = ("bullseye",)
_KEYRINGS = Path("/usr/share/keyrings")
_PROBE_SECONDS = 60.0
_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
_APT_OPTION = re.compile(r"Acquire::(https?::|Retries|ForceIPv|Check-|Languages|Queue-Mode).*[^:] \"")


def host_release() -> str:
    """Return the code name of the host's Debian release, such as `bookworm`. Raises LabError."""
    release: dict[str, str] = {}
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        release[name] = value.strip("\"'")
    if release.get("ID") != "debian" or not release.get("VERSION_CODENAME"):
        raise LabError("this host does not run Debian: name a release for the guest, such as --release bookworm")
    return release["VERSION_CODENAME"]


def source_lines(release: str) -> list[str]:
    """Return the `deb` lines for a release, from the host's Debian archives.

    Only the component `main` is used, and only archives of Debian. The release may differ from the host's.
    Unsupported releases come without updates.
    PHOENIX_LAB_MIRROR (the address of an archive) replaces the host's configuration. Raises LabError.
    """
    keyring = _KEYRINGS / "debian-archive-keyring.gpg"
    options = f"[signed-by={keyring}] " if keyring.exists() else ""
    mirror = os.environ.get("PHOENIX_LAB_MIRROR")
    if mirror:
        return [f"deb {options}{mirror} {release} main"]
    archives: set[tuple[str, str]] = set()
    for created_by, origin, codename, component, uri in _index_targets():
        if (created_by, origin, component) != ("Packages", "Debian", "main"):
            continue
        suffix = codename.partition("-")[2]
        if suffix in ("", "updates", "security"):
            archives.add((suffix, uri))
    if not any(suffix == "" for suffix, _ in archives):
        raise LabError(
            "apt has no lists of packages on this host: run 'apt-get update' as root, "
            "or set PHOENIX_LAB_MIRROR to the address of a Debian archive"
        )
    if release in UNSUPPORTED_RELEASES:
        archives = {(suffix, uri) for suffix, uri in archives if not suffix}
    return [f"deb {options}{uri} {release}{'-' if suffix else ''}{suffix} main" for suffix, uri in sorted(archives)]


def archive_answers(release: str) -> bool:
    """Return whether the host's Debian archive has `release` and can be reached."""
    fields = source_lines(release)[0].split()
    address = f"{fields[-3].rstrip('/')}/dists/{fields[-2]}/InRelease"
    with tempfile.TemporaryDirectory(prefix="phoenix-lab-probe-") as directory:
        try:
            # apt's own program for downloads, which knows the host's proxies.
            done = subprocess.run(
                ["/usr/lib/apt/apt-helper", "download-file", address, f"{directory}/InRelease"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def apt_options() -> list[str]:
    """Return the host's settings of apt that affect downloads (proxies, checks), in the syntax of apt.conf(5)."""
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
