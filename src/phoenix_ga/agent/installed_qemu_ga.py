"""How the qemu-ga of this guest is restricted: it must not be replaced by an agent that allows more.

Distributions restrict it in its own config file, in an environment file of its unit, or in the unit:

- Red Hat: /etc/sysconfig/qemu-ga with BLACKLIST_RPC, BLOCK_RPCS, ALLOW_RPCS or FILTER_RPC_ARGS, and
  FSFREEZE_HOOK_PATHNAME or FSFREEZE_HOOK_ENABLE
- Debian: /etc/default/qemu-guest-agent with DAEMON_ARGS
- all: /etc/qemu/qemu-ga.conf, and drop-ins of systemd

A setting that this module does not know counts as a restriction.
"""

from __future__ import annotations

import os
import shlex

from phoenix_ga.agent.options.default_ports import QEMU_GA_UNIT, UNIT_DIRECTORIES
from phoenix_ga.agent.options.ini import IniLine, read_ini
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import CONFIG_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

_OWN_CONFIG: Final = "/etc/qemu/qemu-ga.conf"
_ENVIRONMENT_FILES: Final = ("/etc/sysconfig/qemu-ga", "/etc/default/qemu-guest-agent")
_ADMINISTRATOR: Final = "/etc/systemd/system"
_PORT: Final = "/dev/virtio-ports/org.qemu.guest_agent.0"

# Options of qemu-ga, by their short and long names and keys in the config file.
_LISTS: Final = ("b", "a", "block-rpcs", "allow-rpcs", "blacklist")
_HOOKS: Final = ("F", "fsfreeze-hook")
_FLAGS: Final = ("v", "d", "r", "verbose", "daemon", "daemonize", "retry-path")
_SHORT_FLAGS: Final = "vdr"
_HARMLESS: Final = ("l", "f", "t", "logfile", "pidfile", "statedir")
# Those that are harmless with one value only.
_CHANNEL: Final = {"m": "virtio-serial", "method": "virtio-serial", "p": _PORT, "path": _PORT}

# Variables of environment files.
_LIST_VARIABLES: Final = ("BLACKLIST_RPC", "BLOCK_RPCS", "ALLOW_RPCS")
_ARGUMENT_VARIABLES: Final = ("DAEMON_ARGS", "FILTER_RPC_ARGS")
_HARMLESS_VARIABLES: Final = ("LOGFILE", "PIDFILE", "FSFREEZE_HOOK_LOGFILE")
_CHANNEL_VARIABLES: Final = {
    "TRANSPORT_METHOD": "virtio-serial",
    "TRANSPORT": f"virtio-serial:{_PORT}",
    "DEVPATH": _PORT,
}
_OFF: Final = ("", "0", "no", "false", "off")

# What a drop-in may set: it will apply to the unit of our agent, too.
_HARMLESS_KEYS: Final = (
    "Description",
    "Documentation",
    "After",
    "Before",
    "Wants",
    "WantedBy",
    "Restart",
    "RestartSec",
)


def check(root: str = "") -> None:
    """Check that nothing is lost if qemu-ga is replaced.

    Args:
        root: prefix of all paths, for tests.

    Raises:
        ConfigError: the text names the file and the line.
    """
    _check_drop_ins(root)
    if not all(line.is_header for line in _lines(root + CONFIG_PATH)):
        # The administrator has decided what our agent may do. The file of a package has comments only.
        return
    for line in _lines(root + _OWN_CONFIG):
        if not line.is_header:
            _check_option(root + _OWN_CONFIG, line.number, line.key, "true" if line.value is None else line.value)
    variables: dict[str, str] = {}
    unit = _unit_file(root)
    files = [*_ENVIRONMENT_FILES, *(_environment_files(unit) if unit else ())]
    for path in dict.fromkeys(files):
        for line in _lines(root + path):
            variables[line.key] = _check_variable(root + path, line)
    if unit:
        _check_unit(unit, variables)


def _check_drop_ins(root: str) -> None:
    for directory in UNIT_DIRECTORIES:
        drop_ins = f"{root}{directory}/{QEMU_GA_UNIT}.d"
        for name in sorted(os.listdir(drop_ins)) if os.path.isdir(drop_ins) else ():
            if not name.endswith(".conf"):
                continue
            path = f"{drop_ins}/{name}"
            for number, key, _ in _unit_settings(path):
                if key not in _HARMLESS_KEYS:
                    raise ConfigError(
                        f"{path}:{number}: {key} would apply to the unit of this agent too; remove it, "
                        f"configure the same in {CONFIG_PATH} if needed, then install again"
                    )
    path = f"{root}{_ADMINISTRATOR}/{QEMU_GA_UNIT}"
    if os.path.lexists(path) and os.path.basename(os.path.realpath(path)) != "phoenix-ga.service":
        if os.path.realpath(path) == "/dev/null":
            raise ConfigError(
                f"{path}: {QEMU_GA_UNIT} is masked; run `systemctl unmask {QEMU_GA_UNIT}`, then install again"
            )
        raise ConfigError(f"{path}: this unit is in the way; move it away, then install again")


def _check_unit(path: str, variables: dict[str, str]) -> None:
    """Check the command line in the unit of the distribution."""
    for number, key, value in _unit_settings(path):
        if key == "Environment":
            raise _not_understood(path, number, value)
        if key == "ExecStart" and value:
            _check_arguments(path, number, _expand(value, variables).partition(" ")[2])


def _check_variable(path: str, line: IniLine) -> str:
    """Check a variable of an environment file, and return its value."""
    name = line.key
    raw = "" if line.value is None else line.value
    try:
        value = " ".join(shlex.split(raw, comments=False))
    except ValueError:
        raise _not_understood(path, line.number, line.text) from None
    if line.value is None or raw.endswith("\\"):
        raise _not_understood(path, line.number, line.text)
    if name in _LIST_VARIABLES:
        if value:
            raise _forbids(path, line.number)
    elif name == "FSFREEZE_HOOK_ENABLE":
        if value.lower() not in _OFF:
            raise _names_hook(path, line.number)
    elif name == "FSFREEZE_HOOK_PATHNAME":
        # An empty value stands for qemu-ga's default hook.
        if value != "/dev/null":
            raise _names_hook(path, line.number)
    elif name in _ARGUMENT_VARIABLES:
        _check_arguments(path, line.number, value)
    elif value and name not in _HARMLESS_VARIABLES and value != _CHANNEL_VARIABLES.get(name):
        raise _not_understood(path, line.number, line.text)
    return value


def _check_arguments(path: str, number: int, text: str) -> None:
    """Check arguments of qemu-ga's command line."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise _not_understood(path, number, text) from None
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and name not in _FLAGS and name not in _HOOKS:
                value = next(rest, "")
        elif word.startswith("-") and len(word) > 1:
            name, value = word[1], word[2:]
            if name in _FLAGS:
                # Several flags in one word.
                if value.strip(_SHORT_FLAGS):
                    raise _not_understood(path, number, word)
                continue
            if not value and name not in _HOOKS:
                value = next(rest, "")
        else:
            raise _not_understood(path, number, word)
        _check_option(path, number, name, value)


def _check_option(path: str, number: int, name: str, value: str) -> None:
    if name in _LISTS:
        if value:
            raise _forbids(path, number)
    elif name in _HOOKS:
        if value != "/dev/null":
            raise _names_hook(path, number)
    elif name not in _FLAGS and name not in _HARMLESS and value != _CHANNEL.get(name):
        raise _not_understood(path, number, f"{name}={value}" if value else name)


def _expand(text: str, variables: dict[str, str]) -> str:
    """Put the values of variables in a command line of systemd."""
    for name in sorted(variables, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
    words = []
    for word in text.split(" "):
        before, dollar, _ = word.partition("$")
        # What is left is not set: an argument of its own vanishes.
        if before or not dollar:
            words.append(before)
    return " ".join(words)


def _unit_file(root: str) -> str:
    for directory in UNIT_DIRECTORIES:
        path = f"{root}{directory}/{QEMU_GA_UNIT}"
        if os.path.exists(path) and os.path.basename(os.path.realpath(path)) == QEMU_GA_UNIT:
            return path
    return ""


def _environment_files(unit: str) -> list[str]:
    return [value.lstrip("-") for _, key, value in _unit_settings(unit) if key == "EnvironmentFile" and value]


def _unit_settings(path: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, key and value of each setting of a unit, see systemd.syntax(7)."""
    first, text = 0, ""
    for line in _lines(path, ";#"):
        first, text = (first, text) if text else (line.number, "")
        text += line.text
        if text.endswith("\\"):
            text = text[:-1]
        else:
            key, _, value = text.partition("=")
            if not (key.startswith("[") and key.endswith("]")):
                yield first, key.strip(), " ".join(value.split())
            text = ""


def _lines(path: str, comments: str = ";#") -> Iterator[IniLine]:
    try:
        yield from read_ini(path, comments)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _forbids(path: str, number: int) -> ConfigError:
    return ConfigError(
        f"{path}:{number} forbids commands of qemu-ga; configure in {CONFIG_PATH} what the host may do "
        "(options allow, block and read-only), then install again"
    )


def _names_hook(path: str, number: int) -> ConfigError:
    return ConfigError(
        f"{path}:{number} names a program to run around a freeze; configure it in {CONFIG_PATH} "
        "(option freeze-hook), then install again"
    )


def _not_understood(path: str, number: int, text: str) -> ConfigError:
    return ConfigError(
        f"{path}:{number}: this setting of qemu-ga is not understood: {text}; configure in {CONFIG_PATH} what the "
        "host may do (`read-only = false` allows everything), then install again"
    )
