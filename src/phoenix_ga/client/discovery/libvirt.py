"""Guests of libvirt, from its status files and the directories of their channels.

    /run/libvirt/qemu/NAME.xml                                        running domains, readable by root
    /run/libvirt/qemu/channel/ID-NAME/PORT                            channels, since libvirt 9.8
    /var/lib/libvirt/qemu/channel/target/domain-ID-NAME/PORT          channels, before
    /var/lib/libvirt/qemu/channel/target/domain-NAME/PORT, NAME.PORT  channels, in very old releases

A user's session daemon has the same below $XDG_RUNTIME_DIR/libvirt/qemu/run and $XDG_CONFIG_HOME/libvirt/qemu.
In directory names, the name of a domain is truncated to 20 characters.

Sources: libvirt, src/qemu/qemu_conf.c and qemu_domain.c (channelTargetDir), virDomainDefGetShortName.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import platformdirs

from phoenix_ga.client.inventory import AGENT_PORTS, KnownGuest, best_port

SOURCE: Final = "libvirt"
_STATE: Final = "run/libvirt/qemu"
_LIBRARY: Final = "var/lib/libvirt/qemu"
_DIRECTORY: Final = re.compile(r"(?:domain-)?(?:\d+-)?(?P<name>.+)")
_STATUS_MAX: Final = 4 * 1024 * 1024
# Time limit for all calls of virsh, in seconds: libvirtd may hang.
_VIRSH_TIMEOUT: Final = 2.0


def libvirt_guests(root: Path = Path("/")) -> list[KnownGuest]:
    """Return the running domains with a socket for a port of the agent."""
    state = [root / _STATE]
    library = [root / _LIBRARY]
    if root == Path("/"):
        if "XDG_RUNTIME_DIR" in os.environ:
            state.append(Path(os.environ["XDG_RUNTIME_DIR"]) / "libvirt/qemu/run")
        library.append(platformdirs.user_config_path() / "libvirt/qemu")
    ports: dict[str, dict[str, str]] = {}
    listed = [found for directory in state for found in _from_status(directory)]
    if not listed and root == Path("/"):
        listed = list(from_virsh())
    for name, port, path in listed:
        ports.setdefault(name, {})[port] = f"unix:{path}"
    known = {endpoint for endpoints in ports.values() for endpoint in endpoints.values()}
    for name, port, path in _from_directories(state, library):
        if f"unix:{path}" not in known:
            ports.setdefault(name, {}).setdefault(port, f"unix:{path}")
    return [KnownGuest(name, best_port(endpoints), SOURCE) for name, endpoints in ports.items()]


def _from_status(directory: Path) -> Iterator[tuple[str, str, str]]:
    """Yield name, port and socket path of each channel, from libvirt's status files."""
    try:
        files = sorted(directory.glob("*.xml"))
    except OSError:
        return
    for file in files:
        try:
            if file.stat().st_size <= _STATUS_MAX:
                yield from _channels(file.read_text(errors="replace"))
        except OSError:
            continue


def from_virsh(socket: Path = Path("/run/libvirt/libvirt-sock-ro")) -> Iterator[tuple[str, str, str]]:
    """Yield the same from the read-only connection of libvirt, if it listens on `socket`."""
    if shutil.which("virsh") is None or not socket.exists():
        return
    deadline = time.monotonic() + _VIRSH_TIMEOUT
    for name in _virsh(deadline, "list", "--name").splitlines():
        if name.strip():
            yield from _channels(_virsh(deadline, "dumpxml", "--domain", name))


def _virsh(deadline: float, *words: str) -> str:
    """Return the output of virsh; empty if it fails or takes too long."""
    command = ["virsh", "--readonly", "--connect", "qemu:///system", *words]
    patience = deadline - time.monotonic()
    if patience <= 0:
        return ""
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=patience, check=True
        ).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def _channels(text: str) -> Iterator[tuple[str, str, str]]:
    try:
        top = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return
    domain = top if top.tag == "domain" else top.find("domain")
    name = domain.findtext("name") if domain is not None else None
    if domain is None or not name:
        return
    for channel in domain.iterfind("devices/channel[@type='unix']"):
        source, target = channel.find("source"), channel.find("target")
        port = target.get("name") if target is not None else None
        path = source.get("path") if source is not None else None
        if port in AGENT_PORTS and path:
            yield name, str(port), path


def _from_directories(state: list[Path], library: list[Path]) -> Iterator[tuple[str, str, str]]:
    for directory in [*(path / "channel" for path in state), *(path / "channel/target" for path in library)]:
        for port in AGENT_PORTS:
            for path in directory.glob(f"*/{port}"):
                found = _DIRECTORY.fullmatch(path.parent.name)
                assert found is not None
                yield found["name"], port, str(path)
            for path in directory.glob(f"*.{port}"):
                yield path.name.removesuffix(f".{port}"), port, str(path)
