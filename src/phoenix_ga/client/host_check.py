"""What works on this host, for one guest or for all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from phoenix_ga.client.discovery import known_guests
from phoenix_ga.client.endpoints import split_endpoint
from phoenix_ga.client.errors import EndpointError
from phoenix_ga.client.host_sockets import rivals
from phoenix_ga.client.models import Check

if TYPE_CHECKING:
    from phoenix_ga.client.inventory import KnownGuest

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"


def check_host(root: Path = Path("/")) -> list[Check]:
    """Check what all guests need: QEMU, acceleration, vsock, and where guests are found. May block.

    Args:
        root: the root directory of the host.
    """
    programs = sorted(
        {path.name for directory in ("usr/bin", "usr/libexec") for path in (root / directory).glob("qemu-system-*")}
        | {path.name for path in (root / "usr/libexec").glob("qemu-kvm")}
    )
    shown = ", ".join(programs[:4]) + (f" and {len(programs) - 4} more" if len(programs) > 4 else "")
    checks = [
        Check("qemu", OK, shown)
        if programs
        else Check("qemu", WARNING, "not installed: this host runs no guests of its own"),
        _device("kvm", root / "dev/kvm", "guests are emulated, which is slow"),
        _device("vsock", root / "dev/vhost-vsock", "guests are reached by virtio-serial only (modprobe vhost_vsock)"),
    ]
    try:
        guests = known_guests(root)
    except EndpointError as error:
        return [*checks, Check("guests", FAILED, str(error))]
    if not guests:
        return [*checks, Check("guests", WARNING, "none found; see phoenixctl guests --help")]
    sources = sorted({guest.source for guest in guests})
    return [*checks, Check("guests", OK, f"{len(guests)} found by {', '.join(sources)}")]


def _device(name: str, path: Path, without: str) -> Check:
    if not path.exists():
        return Check(name, WARNING, f"there is no {path}: {without}")
    try:
        # Not access(2): a device without a driver exists, too.
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Check(name, WARNING, f"{path} cannot be used: {error.strerror}")
    return Check(name, OK, f"{path} can be used")


def check_guest(guest: KnownGuest) -> list[Check]:
    """Check the way to a guest: its endpoint, the socket and its permissions, and who uses it. May block."""
    checks = [
        Check("guest", FAILED if guest.error else OK, guest.error or f"{guest.endpoint}, found by {guest.source}")
    ]
    try:
        kind, address = split_endpoint(guest.endpoint)
    except EndpointError as error:
        return [*checks, Check("endpoint", FAILED, str(error))]
    if kind == "vsock":
        device = Path("/dev/vsock")
        return [*checks, _device("socket", device, "load the module vhost_vsock on this host (modprobe vhost_vsock)")]
    if kind not in ("unix", "pty"):
        return checks
    try:
        status = os.stat(address)
    except OSError as error:
        hint = (
            "is the guest running?" if isinstance(error, FileNotFoundError) else "check the permissions of the path"
        )
        return [*checks, Check("socket", FAILED, f"{address}: {error.strerror}; {hint}")]
    checks.append(_socket(kind, address, status, guest.owners))
    holders = rivals(os.path.realpath(address)) or rivals(address) if kind == "unix" else ""
    if holders:
        text = f"{holders} uses this port, which serves one client at a time: stop it, or use a hub for the guest"
        checks.append(Check("client", WARNING, text))
    elif kind == "unix":
        checks.append(Check("client", OK, "no other client uses this port"))
    return checks


def _socket(kind: str, address: str, status: os.stat_result, owners: tuple[int, ...]) -> Check:
    is_right = stat.S_ISSOCK(status.st_mode) if kind == "unix" else stat.S_ISCHR(status.st_mode)
    if not is_right:
        return Check("socket", FAILED, f"{address} is not a {'socket' if kind == 'unix' else 'terminal'}")
    if not os.access(address, os.R_OK | os.W_OK):
        text = f"user {os.geteuid()} may not use {address}, which belongs to user {status.st_uid}"
        return Check("socket", FAILED, f"{text}: become that user or root")
    if owners and status.st_uid not in owners:
        return Check("socket", FAILED, f"{address} belongs to user {status.st_uid}, who does not run this guest")
    if status.st_mode & stat.S_IWOTH:
        return Check("socket", WARNING, f"every user may use {address}, and so is root in the guest: chmod 0600 it")
    return Check(
        "socket", OK, f"{address} belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}"
    )
