"""The command line of the agent."""

from __future__ import annotations

from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import CONFIG_PATH, OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final


class CommandLine:
    """A parsed command line.

    Attributes:
        options: values by attribute of Config.
        config_path: the config file; `config_named`: it was given explicitly.
        action: "serve", "help", "version", "dump-config", "install", "uninstall", "clean-up" or
            "self-test".
        replace_qemu_ga, profile: with "install".
        json: with "self-test".
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.config_path = CONFIG_PATH
        self.config_named = False
        self.action = "serve"
        self.replace_qemu_ga = False
        self.json = False
        self.profile = ""


_ACTIONS: Final = {
    "h": "help",
    "help": "help",
    "v": "version",
    "version": "version",
    "D": "dump-config",
    "dump-config": "dump-config",
    "install": "install",
    "uninstall": "uninstall",
    "clean-up": "clean-up",
    "self-test": "self-test",
}
REPLACE: Final = "replace-qemu-ga"
JSON: Final = "json"
PROFILE: Final = "profile"


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Parse the arguments after the program's name. One dash is as good as two: `-debug`, `--debug`.

    Raises:
        ConfigError: an option is unknown, or its value is invalid.
    """
    flags = {option.name: option for option in OPTIONS}
    flags.update({option.short: option for option in OPTIONS if option.short})
    line = CommandLine()
    rest = iter(arguments)
    for word in rest:
        name, assigned, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise ConfigError(f"unexpected argument {word!r}; see phoenix-ga --help")
        if name in _ACTIONS and not assigned:
            line.action = _ACTIONS[name]
            continue
        if name == REPLACE and not assigned:
            line.replace_qemu_ga = True
            continue
        if name == JSON and not assigned:
            line.json = True
            continue
        option = flags.get(name)
        if option is None and name not in ("c", "config", PROFILE):
            raise ConfigError(f"unknown option {word!r}; see phoenix-ga --help")
        if option is not None and isinstance(option.default, bool):
            line.options[option.attribute] = option.parse(value) if assigned else True
            continue
        if not assigned:
            value = next(rest, "")
        if not value:
            raise ConfigError(f"option {word!r} needs a value")
        if name == PROFILE:
            line.profile = value
        elif option is None:
            line.config_path, line.config_named = value, True
        elif isinstance(option.default, tuple):
            parsed = (value,) if option.repeated else option.parse(value)
            line.options[option.attribute] = line.options.get(option.attribute, ()) + parsed
        else:
            line.options[option.attribute] = option.parse(value)
    if line.json and line.action != "self-test":
        raise ConfigError(f"--{JSON} is allowed with --self-test only")
    for given, only in ((line.replace_qemu_ga, REPLACE), (line.profile, PROFILE)):
        if given and line.action != "install":
            raise ConfigError(f"--{only} is allowed with --install only")
    return line
