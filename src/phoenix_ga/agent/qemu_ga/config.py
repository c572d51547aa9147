"""The agent's options, derived from those of qemu-ga."""

from __future__ import annotations

from phoenix_ga.agent.config import Config
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import BY_NAME, FREEZE_HOOKS
from phoenix_ga.agent.qemu_ga.options import OURS
from phoenix_ga.agent.qemu_ga.policy import QemuGaPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.protocol.policy import Policy


class QemuGaConfig(Config):
    """The agent's options.

    Args:
        given: the options of qemu-ga.
        inherited: the file descriptor of a socket from systemd, which takes precedence over method and path.
    """

    speaks_qga_first = True
    clients_queue = True

    def __init__(self, given: dict[str, Any], inherited: int | None = None) -> None:
        super().__init__(
            port=(_port(given["method"], given["path"]) if inherited is None else f"fd:{inherited}",),
            log_file=given["logfile"] or "",
            debug=given["verbose"] or bool(given["debug"]),
            allow=given["allow-rpcs"],
            block=given["block-rpcs"],
            max_clients=1,
            **_own_options(given),
        )
        self.waits_for_ports = given["retry-path"]
        if given["daemon"]:
            # The lock of the pid file, and the rest of detaching, belong to one program.
            self.park_after = 0
        self.state_directory = given["statedir"]
        self.frozen_marker = f"{given['statedir']}/qga.state.isfrozen"

    def make_policy(self) -> Policy:
        return QemuGaPolicy(self.allow, self.block)


def _own_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that qemu-ga does not have, and its hook; what is not given keeps the agent's default."""
    options: dict[str, Any] = {}
    for name in OURS:
        if given[name] is not None:
            options[name.replace("-", "_")] = BY_NAME[name].parse(given[name])
    if given["fsfreeze-hook"] is not None:
        options["freeze_hook"] = (FREEZE_HOOKS, given["fsfreeze-hook"])
    return options


def _port(method: str, path: str) -> str:
    """Return the port of a method and a path. Raises ConfigError."""
    if method == "vsock-listen":
        cid, colon, port = path.partition(":")
        if not (colon and cid.lstrip("-").isdecimal() and port.isdecimal()):
            raise ConfigError(f"path {path!r} is not of the form <cid>:<port>")
        return f"vsock:{port}"
    kinds = {"virtio-serial": "", "isa-serial": "tty:", "unix-listen": "unix:"}
    return kinds[method] + path
