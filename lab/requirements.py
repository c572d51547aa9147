"""What the lab needs on the host: Debian packages, and the program by which each is recognised."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from lab.errors import LabError

#: Program -> the Debian package that has it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "tar": "tar",
}
#: What only an ordinary user needs: mmdebstrap works in a user namespace then.
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
    """The path of a program, or None; also looks where an ordinary user's PATH does not."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def missing_packages() -> list[str]:
    """The Debian packages that have to be installed before the lab can work, sorted."""
    programs = dict(PROGRAMS) if os.geteuid() == 0 else {**PROGRAMS, **USER_PROGRAMS}
    return sorted({package for program, package in programs.items() if find_program(program) is None})


def require(*programs: str) -> None:
    """Raise LabError, naming the packages to install, if one of `programs` is missing."""
    absent = [program for program in programs if find_program(program) is None]
    if absent:
        packages = sorted({{**PROGRAMS, **USER_PROGRAMS, **LIBVIRT_PROGRAMS}[program] for program in absent})
        raise LabError(f"{', '.join(absent)} is missing: apt-get install {' '.join(packages)}")


def install_command(packages: Iterable[str]) -> list[str]:
    """The apt-get command that installs `packages` without asking."""
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def install(packages: Iterable[str]) -> None:
    """Refresh apt's lists and install `packages`; needs root. Raises LabError when apt fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], install_command(packages)):
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise LabError(f"'{' '.join(command)}' failed: see apt's messages above")
