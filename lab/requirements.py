"""What the lab needs on the host: Debian packages, and the program that shows that each is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from lab.errors import LabError
from lab.progress import run_quietly

#: Program -> the Debian package that has it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "tar": "tar",
}
#: What only an ordinary user needs, because mmdebstrap then works in a user namespace.
USER_PROGRAMS = {"newuidmap": "uidmap"}
#: What guests under libvirt need.
LIBVIRT_PROGRAMS = {
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "virsh": "libvirt-clients",
    "unshare": "util-linux",
}
_SYSTEM_PATH = "/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """Return the path of a program, or None; look in /usr/sbin and /sbin too, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def missing_packages() -> list[str]:
    """Return the Debian packages that the lab needs and the host lacks, sorted."""
    programs = dict(PROGRAMS) if os.geteuid() == 0 else {**PROGRAMS, **USER_PROGRAMS}
    return sorted({package for program, package in programs.items() if find_program(program) is None})


def require(*programs: str) -> None:
    """Check that `programs` are installed.

    Raises:
        LabError: Some are missing; the message names the packages to install.
    """
    absent = [program for program in programs if find_program(program) is None]
    if absent:
        packages = sorted({{**PROGRAMS, **USER_PROGRAMS, **LIBVIRT_PROGRAMS}[program] for program in absent})
        raise LabError(f"{', '.join(absent)} is missing: apt-get install {' '.join(packages)}")


def install_command(packages: Iterable[str]) -> list[str]:
    """Return the apt-get command that installs `packages` without asking."""
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def install(packages: Iterable[str]) -> None:
    """Refresh apt's lists and install `packages`, with progress.

    Raises:
        LabError: The user is not root (the message has the command to type), or apt-get failed.
    """
    packages = list(packages)
    if os.geteuid() != 0:
        raise LabError(
            "packages are missing on this machine; as root, type:\n"
            f"    apt-get update && apt-get install --no-install-recommends {' '.join(packages)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_quietly("refreshing the lists of packages", ["apt-get", "update"], environment)
    run_quietly(f"installing {' '.join(packages)}", install_command(packages), environment)
