"""The options in effect."""

from __future__ import annotations

import os

from phoenix_ga.agent.options.default_ports import default_ports
from phoenix_ga.agent.options.ini import read_ini
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import BY_NAME, OPTIONS, SECTION
from phoenix_ga.agent.protocol.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self

    from phoenix_ga.agent.options.command_line import CommandLine


class Config:
    """The options in effect, an attribute each.

    Attributes:
        speaks_qga_first: lines that are not understood are answered as the QEMU Guest Agent does, on all ports.
        waits_for_ports: a device that is missing, or vanishes, is waited for; otherwise the agent exits.
        clients_queue: clients of a listening port beyond the limit wait, instead of being refused.
        state_directory: for the state of the QEMU dialect.
        frozen_marker: the path of a file that exists while filesystems are frozen; empty for none.
    """

    speaks_qga_first = False
    waits_for_ports = True
    clients_queue = False
    frozen_marker = ""
    state_directory: str
    port: tuple[str, ...]
    log_file: str
    debug: bool
    allow: tuple[str, ...]
    block: tuple[str, ...]
    read_only: bool
    max_handles: int
    max_commands: int
    max_streams: int
    max_workers: int
    max_clients: int
    line_limit: int
    listing_limit: int
    stop_timeout: int
    park_after: int
    auto_online: bool
    freeze_timeout: int
    freeze_hook: tuple[str, ...]
    hook_timeout: int
    qga_version: str
    run_directory: str

    def __init__(self, **given: Any) -> None:
        for option in OPTIONS:
            setattr(self, option.attribute, given.get(option.attribute, option.default))
        self.state_directory = self.run_directory

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        """Return the options that an agent had when it parked: `vars` of them, as JSON.

        Its files may have changed, and hold until the next reload.
        """
        config = cls.__new__(cls)
        Config.__init__(config)
        for name, value in values.items():
            setattr(config, name, tuple(value) if isinstance(value, list) else value)
        return config

    def make_policy(self) -> Policy:
        """Return the policy of these options."""
        return Policy(self.allow, self.block, self.read_only)

    def dump(self) -> str:
        """Return the options as a config file."""
        lines = [f"{option.name} = {option.format(getattr(self, option.attribute))}" for option in OPTIONS]
        return f"[{SECTION}]\n" + "".join(line.rstrip() + "\n" for line in lines)


def read_config_file(path: str, required: bool) -> dict[str, Any]:
    """Return the options of a config file, by attribute. A missing file has none, unless it is required.

    Raises:
        ConfigError: the file cannot be read, or is invalid.
    """
    options: dict[str, Any] = {}
    try:
        for line in read_ini(path, "#;"):
            where = f"{path}, line {line.number}"
            if line.section is None:
                raise ConfigError(f"{where}: the line [{SECTION}] must come first")
            if line.section != SECTION:
                raise ConfigError(f"{where}: unknown section [{line.section}]; there is only [{SECTION}]")
            if line.is_header:
                continue
            option = BY_NAME.get(line.key)
            if line.value is None or option is None:
                raise ConfigError(f"{where}: no option {line.key!r}; phoenix-ga --help lists them")
            try:
                options[option.attribute] = option.parse(line.value)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None
    return options


def load_config(line: CommandLine) -> Config:
    """Return the options in effect: of the command line, else of the config file, else the defaults.

    Raises:
        ConfigError: the config file is invalid, or there is no port.
    """
    options = {**read_config_file(line.config_path, line.config_named), **line.options}
    config = Config(**{"port": default_ports(), **options})
    if not config.port:
        raise ConfigError("there is no port to serve; give one with -p PORT")
    return config
