"""What the tests need of the machine beside Python: programs, and the Debian packages that have them.

A test names its programs with `@pytest.mark.programs("ssh")`; those of a fixture are in FIXTURES.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Final

#: Program -> Debian package.
PROGRAMS: Final = {
    "btrfs": "btrfs-progs",
    "curl": "curl",
    "debugfs": "e2fsprogs",
    "dh_python3": "dh-python",
    "dpkg-buildpackage": "dpkg-dev",
    "dumpe2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "git": "git",
    "groff": "groff",
    "ip": "iproute2",
    "libvirtd": "libvirt-daemon-system",
    "lintian": "lintian",
    "logger": "bsdutils",
    "losetup": "mount",
    "man": "man-db",
    "mkfs.ext4": "e2fsprogs",
    "mariadb-install-db": "mariadb-server",
    "mariadbd": "mariadb-server",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
    "mount": "mount",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "promtool": "prometheus",
    "sfdisk": "fdisk",
    "psql": "postgresql",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "redis-cli": "redis-server",
    "redis-server": "redis-server",
    "rpmbuild": "rpm",
    "rpmlint": "rpmlint",
    "rsync": "rsync",
    "socat": "socat",
    "ss": "iproute2",
    "sftp": "openssh-client",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "sshfs": "sshfs",
    "start-stop-daemon": "dpkg",
    "systemd-analyze": "systemd",
    "virsh": "libvirt-clients",
    "xfs_repair": "xfsprogs",
    "xorriso": "xorriso",
}
#: Fixture -> the programs that it runs.
FIXTURES: Final = {
    "namespace": ("ip",),
    "bench": ("losetup", "mkfs.ext4", "mount"),
}
_SYSTEM_PATH: Final = "/usr/sbin:/sbin"


def is_missing(program: str) -> bool:
    """Return whether a program is neither on PATH nor in the directories of system programs."""
    return shutil.which(program) is None and shutil.which(program, path=_SYSTEM_PATH) is None


def missing(programs: Iterable[str] = PROGRAMS) -> list[str]:
    """Return those of `programs` that are not installed."""
    return [program for program in programs if is_missing(program)]


def advice(programs: Iterable[str]) -> str:
    """Return what is missing and how to install it, in one line."""
    packages = sorted({PROGRAMS[program] for program in programs})
    return f"missing programs: {', '.join(programs)}; install them with: apt-get install {' '.join(packages)}"
