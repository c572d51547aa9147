"""Which network manager configures an interface, and the file of our own in its directory."""

from __future__ import annotations

import os
from _socket import if_nametoindex
from errno import EEXIST, EINVAL, ENOTSUP

from phoenix_ga.agent.operations.network_files import formats
from phoenix_ga.agent.operations.network_files.settings import active_settings, read_lines
from phoenix_ga.agent.operations.replacement import Replacement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from phoenix_ga.agent.operations.network_files.settings import Settings

# The managers give names of interfaces to shells and to parsers of their own.
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_MARK: Final = "phoenix-ga"


class Manager:
    """A network manager.

    Args:
        name: As in the answer of `net-persist`.
        path: Of our file, with `{}` for the interface.
        render: Returns its content.
        winner: Returns the file of somebody else that configures the interface and that ours cannot replace.
        mode: Permissions of our file.
    """

    def __init__(
        self,
        name: str,
        path: str,
        render: Callable[[Settings], str],
        winner: Callable[[str, int, str], str],
        mode: int = 0o644,
    ) -> None:
        self.name = name
        self.path = path
        self.render = render
        self.winner = winner
        self.mode = mode


def find_manager(name: str, index: int, root: str = "") -> Manager | None:
    """Return what manages an interface, or would if it were configured; None if no manager is known.

    Args:
        root: A prefix of all paths.
    """

    def exists(*paths: str) -> bool:
        # Units are symbolic links.
        return any(os.path.lexists(root + path) for path in paths)

    # netplan writes the files of the others.
    if exists("/etc/netplan") and exists("/usr/sbin/netplan", "/usr/bin/netplan"):
        return _NETPLAN
    if {"managed=true", "managed=1"} & set(read_lines(f"{root}/run/NetworkManager/devices/{index}")):
        return _NETWORK_MANAGER
    state = _values(read_lines(f"{root}/run/systemd/netif/links/{index}")).get("ADMIN_STATE", "unmanaged")
    if state != "unmanaged":
        return _NETWORKD
    if name in _values(read_lines(f"{root}/run/network/ifstate")):
        return _IFUPDOWN
    # Nothing configures it yet: a manager that runs, or that starts later in the boot.
    units = "/etc/systemd/system/multi-user.target.wants/"
    if exists("/run/NetworkManager/devices", f"{units}NetworkManager.service"):
        return _NETWORK_MANAGER
    if exists("/run/systemd/netif/links", f"{units}systemd-networkd.service"):
        return _NETWORKD
    return _IFUPDOWN if exists("/sbin/ifup", "/usr/sbin/ifup") else None


def persist_active(ifname: str, dry_run: bool) -> dict[str, str]:
    """Write what is active on an interface, as `persist` does. Raises OSError as that and `active_settings` do."""
    return persist(active_settings(ifname), if_nametoindex(ifname), dry_run)


def persist(settings: Settings, index: int, dry_run: bool = False, root: str = "") -> dict[str, str]:
    """Write what is to stay of an interface into a file of the guest's network manager.

    The file replaces that of an earlier call, of which a hidden copy is kept beside it. The manager is not told: it
    reads the file when the guest boots.

    Args:
        index: Of the interface.
        dry_run: Write nothing.
        root: A prefix of all paths.

    Returns:
        `manager`, `path`, `content`; and `backup`, the path of the copy, empty if there was no such file.

    Raises:
        OSError: ENOTSUP if no manager is known; EEXIST if another file configures the interface and would win.
    """
    name = settings.name
    if not name or set(name) - _NAME_CHARACTERS:
        raise OSError(EINVAL, f"interface {name[:100]!r}: managers may misread such a name")
    manager = find_manager(name, index, root)
    if manager is None:
        known = "systemd-networkd, NetworkManager, netplan or ifupdown"
        raise OSError(ENOTSUP, f"interface {name!r}: the guest has no network manager that is known ({known})")
    winner = manager.winner(name, index, root)
    path = manager.path.format(name)
    if winner:
        raise OSError(EEXIST, f"interface {name!r}: {winner}; change that, as {path} would not take effect")
    content = manager.render(settings)
    backup = ""
    if os.path.exists(root + path):
        directory, base = os.path.split(path)
        backup = f"{directory}/.{base}.bak"
    if not dry_run:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        if backup:
            with open(root + path, "rb") as file:
                _replace(root + backup, file.read(), manager.mode)
        _replace(root + path, os.fsencode(content), manager.mode)
    return {"manager": manager.name, "path": path, "content": content, "backup": backup}


def _replace(path: str, content: bytes, mode: int) -> None:
    replacement = Replacement(path, mode)
    try:
        replacement.write(content)
        replacement.commit()
    finally:
        replacement.abandon()


def _networkd_winner(name: str, index: int, root: str) -> str:
    # networkd takes the first file that matches, by the name of the file whatever its directory.
    ours = f"05-{_MARK}-{name}.network"
    path = _values(read_lines(f"{root}/run/systemd/netif/links/{index}")).get("NETWORK_FILE", "")
    return f"systemd-networkd configures it by {path}" if path and os.path.basename(path) < ours else ""


def _network_manager_winner(name: str, index: int, root: str) -> str:
    directories = (f"{place}/NetworkManager/system-connections" for place in ("/usr/lib", "/etc", "/run"))
    for path, lines in _files(root, *directories):
        values = _values(lines)
        priority = values.get("autoconnect-priority", "0")
        if values.get("interface-name") == name and priority.isdigit() and int(priority) >= formats.PRIORITY:
            return f"{path} configures it with the same priority"
    return ""


def _netplan_winner(name: str, index: int, root: str) -> str:
    # Of several files, netplan takes single values from the last and the elements of lists from all.
    for path, lines in _files(root, "/lib/netplan", "/etc/netplan", "/run/netplan"):
        # As a key, or as the value of `set-name`.
        words = {word.strip(" \"'-{}") for line in lines for word in line.partition("#")[0].split(":")}
        if path.endswith(".yaml") and name in words:
            return f"{path} configures it, and netplan would merge both"
    return ""


def _ifupdown_winner(name: str, index: int, root: str) -> str:
    sourced = False
    for path, lines in _files(root, "/etc/network", "/etc/network/interfaces.d"):
        for line in lines:
            words = line.split()
            if words[:2] == ["iface", name]:
                # Both would be applied.
                return f"{path} configures it"
            is_source = words[:1] in (["source"], ["source-directory"])
            if path == "/etc/network/interfaces" and is_source and "interfaces.d" in line:
                sourced = True
    return "" if sourced else "/etc/network/interfaces has no line `source /etc/network/interfaces.d/*`"


def _values(lines: list[str]) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def _files(root: str, *directories: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the path and the lines of each file in these directories that is not ours."""
    for directory in directories:
        try:
            names = sorted(os.listdir(root + directory))
        except OSError:
            continue
        for each in names:
            if _MARK not in each and os.path.isfile(f"{root}{directory}/{each}"):
                yield f"{directory}/{each}", read_lines(f"{root}{directory}/{each}")


_NETPLAN: Final = Manager("netplan", "/etc/netplan/90-phoenix-ga-{}.yaml", formats.netplan, _netplan_winner, 0o600)
_NETWORK_MANAGER: Final = Manager(
    "NetworkManager",
    "/etc/NetworkManager/system-connections/phoenix-ga-{}.nmconnection",
    formats.network_manager,
    _network_manager_winner,
    0o600,
)
_NETWORKD: Final = Manager(
    "systemd-networkd", "/etc/systemd/network/05-phoenix-ga-{}.network", formats.networkd, _networkd_winner
)
_IFUPDOWN: Final = Manager("ifupdown", "/etc/network/interfaces.d/phoenix-ga-{}", formats.ifupdown, _ifupdown_winner)
