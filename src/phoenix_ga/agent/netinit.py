"""`phoenix-ga netinit`: configure the network once, as the host has described it for NoCloud. Loaded only by that."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from errno import EEXIST, ENODEV, ENOENT, ENOTSUP
from functools import partial

from phoenix_ga.agent.linux import rtnetlink
from phoenix_ga.agent.operations import network
from phoenix_ga.agent.operations.network_files.cloud_config import parse_network_config
from phoenix_ga.agent.operations.network_files.formats import is_reachable
from phoenix_ga.agent.operations.network_files.managers import find_manager, persist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from phoenix_ga.agent.operations.network_files.cloud_config import Wanted
    from phoenix_ga.agent.operations.network_files.settings import Settings

USAGE: Final = """\
Usage: phoenix-ga netinit [--dry-run] [PATH]

Configure the network as the file network-config of NoCloud says, version 1 or 2. It is read from
PATH, a file or a directory; else from the directory that the serial number or the version of the
machine in SMBIOS names (ds=nocloud;s=/DIRECTORY/); else from a disk with the label cidata.

If the guest has a network manager, its files are written, which it reads when it starts; else
the addresses and routes are set at once. Interfaces are found by hardware address, else by name.

  --dry-run   Show what would be written or set, and change nothing.
"""
_FILE: Final = "network-config"
_LABELS: Final = ("cidata", "CIDATA")
_SMBIOS: Final = ("product_serial", "product_version")
_MARK: Final = "ds=nocloud"


def main(arguments: list[str]) -> int:
    """Configure the network; return the exit status.

    Raises:
        OSError: The configuration cannot be found, understood or applied.
    """
    dry_run = "--dry-run" in arguments
    paths = [each for each in arguments if each != "--dry-run"]
    if len(paths) > 1 or any(each.startswith("-") for each in paths):
        asked = paths in (["-h"], ["--help"])
        print(USAGE, end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    present = rtnetlink.links()
    links = {link.hardware_address.hex(":"): link for link in present if not link.kind}
    links.update({link.name: link for link in present})
    found = []
    # All of it is understood before anything is changed.
    for wanted in parse_network_config(read_config(paths[0] if paths else "")):
        link = links.get(wanted.hardware_address or wanted.name)
        if link is None:
            raise OSError(ENODEV, f"there is no interface {wanted.hardware_address or wanted.name!r}")
        wanted.settings.name = link.name
        found.append((wanted, link.index))
    for wanted, index in found:
        _configure(wanted, index, dry_run)
    return 0


def _configure(wanted: Wanted, index: int, dry_run: bool) -> None:
    settings = wanted.settings
    if find_manager(settings.name, index) is None:
        for line in apply(settings, dry_run):
            print(f"{settings.name}: {line}")
        return
    written = persist(settings, index, dry_run)
    print(f"{settings.name}: {written['path']} ({written['manager']})")
    if dry_run:
        print(written["content"], end="")


def apply(settings: Settings, dry_run: bool = False) -> list[str]:
    """Set an interface up, and add the addresses and routes that are missing; return what was done.

    Raises:
        OSError: ENOTSUP if it needs DHCP, which takes a manager; else the kernel's.
    """
    if settings.dhcp4 or settings.dhcp6:
        raise OSError(ENOTSUP, f"interface {settings.name!r}: DHCP needs a network manager, and the guest has none")
    name = settings.name
    steps: list[tuple[str, Callable[[], None]]] = [("up", partial(network.set_interface_up, name))]
    for address in settings.addresses:
        steps.append((f"address {address}", partial(network.add_address, address, name)))
    for route in settings.routes:
        link, everywhere = rtnetlink.RT_SCOPE_LINK, rtnetlink.RT_SCOPE_UNIVERSE
        if route.gateway and not is_reachable(route, settings):
            steps.append((f"route {route.gateway}", partial(network.add_route, name, route.gateway, scope=link)))
        add = partial(
            network.add_route_with_metric, name, route.destination, gateway=route.gateway, metric=route.metric
        )
        via = f" via {route.gateway}" if route.gateway else ""
        steps.append((f"route {route.destination}{via}", partial(add, scope=everywhere if via else link)))
    for _, step in () if dry_run else steps:
        try:
            step()
        except OSError as error:
            if error.errno != EEXIST:
                raise
    done = [text for text, _ in steps]
    if settings.nameservers:
        done.append("the name servers are not set, because that takes a network manager")
    return done


def read_config(path: str, root: str = "") -> str:
    """Return the text of the configuration.

    Args:
        path: A file or a directory; empty: what SMBIOS names, else the disk.
        root: A prefix of the paths.

    Raises:
        OSError: ENOENT if there is none.
    """
    path = path or _smbios_directory(root)
    if path:
        return _read(os.path.join(path, _FILE) if os.path.isdir(path) else path)
    for label in _LABELS:
        device = f"{root}/dev/disk/by-label/{label}"
        if os.path.exists(device):
            return _read_disk(device)
    raise OSError(ENOENT, "there is no disk with the label cidata, and SMBIOS names no directory")


def _smbios_directory(root: str) -> str:
    for name in _SMBIOS:
        try:
            text = _read(f"{root}/sys/class/dmi/id/{name}").strip()
        except OSError:
            continue
        if text.startswith(_MARK):
            for word in text.split(";"):
                key, _, value = word.partition("=")
                value = value[7:] if value.startswith("file://") else value
                if key in ("s", "seedfrom") and value.startswith("/"):
                    return root + value
    return ""


def _read_disk(device: str) -> str:
    point = tempfile.mkdtemp(prefix="phoenix-netinit-", dir="/run")
    try:
        subprocess.run(["mount", "-o", "ro,nodev,nosuid,noexec", device, point], check=True)
        try:
            return _read(os.path.join(point, _FILE))
        finally:
            subprocess.run(["umount", point], check=True)
    except subprocess.CalledProcessError as error:
        raise OSError(ENOENT, f"{device}: {error}") from None
    finally:
        os.rmdir(point)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
