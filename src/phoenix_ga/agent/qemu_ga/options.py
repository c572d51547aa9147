"""The options of qemu-ga(8), each declared once, for its command line and its config file.

Later values override earlier ones, the command line overrides the file; lists accumulate.
"""

from __future__ import annotations

import os

from phoenix_ga.agent.options.ini import read_ini
from phoenix_ga.agent.options.option import ConfigError, split_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

CONFIG_PATH: Final = "/etc/qemu/qemu-ga.conf"
CONFIG_VARIABLE: Final = "QGA_CONF"
HOOK_PATH: Final = "/etc/qemu/fsfreeze-hook"
GROUP: Final = "general"
METHODS: Final = ("virtio-serial", "isa-serial", "unix-listen", "vsock-listen")
DEFAULT_PATHS: Final = {
    "virtio-serial": "/dev/virtio-ports/org.qemu.guest_agent.0",
    "isa-serial": "/dev/ttyS0",
}
# Options that qemu-ga does not have; their defaults are those of the agent.
OURS: Final = ("freeze-timeout", "hook-timeout", "park-after", "qga-version")
UNKNOWN_OPTION: Final = "Unknown option, try 'qemu-ga --help' for more information."


class QemuGaOption:
    """An option.

    Args:
        name: the key in the config file, and the long option.
        kind: `str`, `bool` or `list`.
        flag: the short option; empty for none.
        default: None for no value, which `dump` leaves out.
        value: the value of an option whose argument is optional.
        spellings: other names, deprecated ones included.
    """

    __slots__ = ("default", "flag", "help", "kind", "name", "spellings", "value")

    def __init__(
        self,
        name: str,
        kind: type,
        flag: str,
        help: str,
        *,
        default: Any = None,
        value: str = "",
        spellings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.flag = flag
        self.help = help
        self.default = default
        self.value = value
        self.spellings = spellings


OPTIONS: Final = (
    QemuGaOption("daemon", bool, "d", "Become a daemon.", default=False, spellings=("daemonize",)),
    QemuGaOption("method", str, "m", f"Channel type: one of {', '.join(METHODS)}.", default=METHODS[0]),
    QemuGaOption("path", str, "p", "Path of the device or socket, or <cid>:<port> for vsock-listen."),
    QemuGaOption("logfile", str, "l", "Append the log to this file instead of writing it to standard error."),
    QemuGaOption("pidfile", str, "f", "Pid file of the daemon.", default="/var/run/qemu-ga.pid"),
    QemuGaOption(
        "fsfreeze-hook",
        str,
        "F",
        f"Run this hook with `freeze` and `thaw`; default path: {HOOK_PATH}. No space before the path.",
        value=HOOK_PATH,
    ),
    QemuGaOption("freeze-timeout", str, "", "Seconds after which a freeze is thawed automatically; 0 for never."),
    QemuGaOption("park-after", str, "", "Seconds without requests after which the agent parks; 0 for never."),
    QemuGaOption("hook-timeout", str, "", "Time limit for each run of a hook, in seconds; 0 for none."),
    QemuGaOption("statedir", str, "t", "Directory for state that survives a restart.", default="/var/run"),
    QemuGaOption("verbose", bool, "v", "Log each request.", default=False),
    QemuGaOption("debug", bool, "", "Log each request."),
    QemuGaOption("qga-version", str, "", "QEMU Guest Agent version that guest-info reports."),
    QemuGaOption("retry-path", bool, "r", "Wait for a device that is missing, or vanishes.", default=False),
    QemuGaOption(
        "block-rpcs",
        list,
        "b",
        "Refuse these commands: names separated by commas. `help` lists them.",
        default=(),
        spellings=("blacklist",),
    ),
    QemuGaOption(
        "allow-rpcs",
        list,
        "a",
        "Allow only these commands: names separated by commas. `help` lists them.",
        default=(),
    ),
)
_BY_NAME: Final = {name: option for option in OPTIONS for name in (option.name, *option.spellings)}
_BY_FLAG: Final = {option.flag: option for option in OPTIONS if option.flag}
_ACTIONS: Final = {"V": "version", "D": "dump-conf", "h": "help", "c": "config"}


class QemuGaLine:
    """A parsed command line.

    Attributes:
        options: values by name; lists are tuples.
        config_path: the config file; empty if none was given.
        action: "serve", "help", "version", "dump-conf" or "list".
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.config_path = ""
        self.action = "serve"


def parse_command_line(arguments: Sequence[str]) -> QemuGaLine:
    """Parse the arguments after the program's name as getopt_long(3) does. Raises ConfigError."""
    line = QemuGaLine()
    for name, value in _words(arguments):
        if name == "config":
            line.config_path = value
        elif name in _ACTIONS.values():
            # The first one counts, as if it were executed at once.
            line.action = name if line.action == "serve" else line.action
        else:
            option = _BY_NAME[name]
            if option.kind is list and value in ("help", "?"):
                line.action = "list" if line.action == "serve" else line.action
            _add(line.options, option, True if option.kind is bool else value)
    return line


def _words(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the long name of each option and its value; other words are skipped."""
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            return
        if word.startswith("--"):
            name, assigned, value = word[2:].partition("=")
            name = _long_name(name, word)
            if assigned and not _takes_value(name):
                raise ConfigError(f"option '--{name}' doesn't allow an argument\n{UNKNOWN_OPTION}")
            if not assigned and _needs_value(name):
                value = _next(rest, f"option '{word}' requires an argument")
            yield name, value or _default_value(name)
        elif word.startswith("-") and word != "-":
            yield from _flags(word[1:], rest)


def _flags(flags: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    while flags:
        flag, flags = flags[0], flags[1:]
        if flag in _ACTIONS:
            name = _ACTIONS[flag]
        elif flag in _BY_FLAG:
            name = _BY_FLAG[flag].name
        else:
            raise ConfigError(f"invalid option -- '{flag}'\n{UNKNOWN_OPTION}")
        if not _takes_value(name):
            yield name, ""
            continue
        value, flags = flags, ""
        if not value and _needs_value(name):
            value = _next(rest, f"option requires an argument -- '{flag}'")
        yield name, value or _default_value(name)


def _long_name(given: str, word: str) -> str:
    """Return the full name of an option, which may be abbreviated if that is unambiguous."""
    names = (*_BY_NAME, *_ACTIONS.values())
    found = [given] if given in names else [name for name in names if given and name.startswith(given)]
    if len(found) != 1:
        problem = "unrecognized option" if not found else "ambiguous option:"
        raise ConfigError(f"{problem} '{word}'\n{UNKNOWN_OPTION}")
    return _BY_NAME[found[0]].name if found[0] in _BY_NAME else found[0]


def _takes_value(name: str) -> bool:
    return name == "config" or (name in _BY_NAME and _BY_NAME[name].kind is not bool)


def _needs_value(name: str) -> bool:
    return _takes_value(name) and not _default_value(name)


def _default_value(name: str) -> str:
    return _BY_NAME[name].value if name in _BY_NAME else ""


def _next(rest: Iterator[str], problem: str) -> str:
    for word in rest:
        return word
    raise ConfigError(f"{problem}\n{UNKNOWN_OPTION}")


def _add(options: dict[str, Any], option: QemuGaOption, value: Any) -> None:
    if option.kind is list:
        options[option.name] = options.get(option.name, ()) + split_list(value)
    else:
        options[option.name] = value


def read_config_file(path: str, required: bool = False) -> dict[str, Any]:
    """Return the options of a config file, by name. A missing file has none, unless it is required.

    Unknown keys and groups belong to other versions, and are skipped. Raises ConfigError.
    """
    options: dict[str, Any] = {}
    try:
        for line in read_ini(path, "#"):
            if line.is_header:
                continue
            if line.value is None or not line.key or line.section is None:
                raise _unreadable(path, f"line {line.number} is no key=value: {line.text!r}")
            option = _BY_NAME.get(line.key)
            if line.section == GROUP and option is not None:
                value = _boolean(path, line.key, line.value) if option.kind is bool else line.value
                _add(options, option, value)
    except FileNotFoundError as error:
        if required:
            raise _unreadable(path, os.strerror(error.errno or 0)) from None
    except OSError as error:
        raise _unreadable(path, os.strerror(error.errno or 0)) from None
    return options


def _unreadable(path: str, problem: str) -> ConfigError:
    return ConfigError(f"error loading configuration from path: {path}, {problem}")


def _boolean(path: str, key: str, value: str) -> bool:
    if value not in ("true", "1", "false", "0"):
        raise _unreadable(path, f"{key} must be true or false, not {value!r}")
    return value in ("true", "1")


def load_options(line: QemuGaLine) -> dict[str, Any]:
    """Return all options in effect, by name. Raises ConfigError."""
    path = line.config_path or os.environ.get(CONFIG_VARIABLE, CONFIG_PATH)
    options: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for source in (read_config_file(path, required=bool(line.config_path)), line.options):
        for name, value in source.items():
            options[name] = options[name] + value if isinstance(value, tuple) else value
    if options["method"] not in METHODS:
        raise ConfigError(f"unsupported channel method/type: {options['method']}")
    if options["path"] is None:
        options["path"] = DEFAULT_PATHS.get(options["method"])
    if options["path"] is None:
        raise ConfigError("must specify a path for this channel")
    if not options["statedir"].startswith("/"):
        raise ConfigError(f"statedir must be an absolute path, not {options['statedir']!r}")
    return options


def dump(options: dict[str, Any]) -> str:
    """Return the options as a config file."""
    lines = []
    for option in OPTIONS:
        value = options[option.name]
        if value is None:
            continue
        text = {True: "true", False: "false"}[value] if option.kind is bool else value
        lines.append(f"{option.name}={';'.join(text) if option.kind is list else text}")
    return f"[{GROUP}]\n" + "\n".join(lines) + "\n"
