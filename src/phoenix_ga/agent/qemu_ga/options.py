"""The options of qemu-ga(8): its command line and its config file, each declared once.

Later values win over earlier ones, the command line over the file; lists add up.
"""

from __future__ import annotations

import os

from phoenix_ga.agent.config import ConfigError

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
UNKNOWN_OPTION: Final = "Unknown option, try 'qemu-ga --help' for more information."


class QemuGaOption:
    """name: the key in the config file and the name of the option. kind: `str`, `bool` or `list`.

    flag: the short option; empty for one that qemu-ga does not have. default: where nothing is said; None:
    nothing. value: what an option means whose own value may be left out. spellings: other names, deprecated
    ones included.
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
    QemuGaOption("method", str, "m", f"How to be reached: one of {', '.join(METHODS)}.", default=METHODS[0]),
    QemuGaOption("path", str, "p", "The device, the socket, or <cid>:<port> for vsock-listen."),
    QemuGaOption("logfile", str, "l", "Append the log to this file instead of writing it to standard error."),
    QemuGaOption("pidfile", str, "f", "Where a daemon writes its process ID.", default="/var/run/qemu-ga.pid"),
    QemuGaOption(
        "fsfreeze-hook",
        str,
        "F",
        f"Run this program with `freeze` and `thaw`; without a path, {HOOK_PATH}. No space before the path.",
        value=HOOK_PATH,
    ),
    QemuGaOption("freeze-timeout", str, "", "After how many seconds a freeze ends by itself; 0 for never. [600]"),
    QemuGaOption("hook-timeout", str, "", "How many seconds a hook may take; 0 for any time. [60]"),
    QemuGaOption("statedir", str, "t", "Where to keep what a restarted agent must know.", default="/var/run"),
    QemuGaOption("verbose", bool, "v", "Log each request.", default=False),
    QemuGaOption("retry-path", bool, "r", "Wait for a device that is not there, or goes away.", default=False),
    QemuGaOption(
        "block-rpcs",
        list,
        "b",
        "Never run these commands: names with commas between. `help` lists them.",
        default=(),
        spellings=("blacklist",),
    ),
    QemuGaOption(
        "allow-rpcs",
        list,
        "a",
        "Run only these commands: names with commas between. `help` lists them.",
        default=(),
    ),
)
_BY_NAME: Final = {name: option for option in OPTIONS for name in (option.name, *option.spellings)}
_BY_FLAG: Final = {option.flag: option for option in OPTIONS if option.flag}
_ACTIONS: Final = {"V": "version", "D": "dump-conf", "h": "help", "c": "config"}


class QemuGaLine:
    """What the command line said. options: by name; lists are tuples. config_path: empty, or the file to read.

    action: "serve", "help", "version", "dump-conf" or "list".
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.config_path = ""
        self.action = "serve"


def parse_command_line(arguments: Sequence[str]) -> QemuGaLine:
    """Parse what follows the program's name as getopt_long(3) does. Raises ConfigError."""
    line = QemuGaLine()
    for name, value in _words(arguments):
        if name == "config":
            line.config_path = value
        elif name in _ACTIONS.values():
            # The first one counts, as each is done as soon as it is met.
            line.action = name if line.action == "serve" else line.action
        else:
            option = _BY_NAME[name]
            if option.kind is list and value in ("help", "?"):
                line.action = "list" if line.action == "serve" else line.action
            _add(line.options, option, True if option.kind is bool else value)
    return line


def _words(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the long name of each option and its value; what is no option is passed over."""
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
    """Return the name that is meant, which may be cut short where it is still clear."""
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
        names = tuple(name.strip() for name in value.replace(";", ",").split(",") if name.strip())
        options[option.name] = options.get(option.name, ()) + names
    else:
        options[option.name] = value


def read_config_file(path: str) -> dict[str, Any]:
    """Return the options that a config file sets, by name. A file that is not there sets none.

    Unknown keys and groups are for other versions, and passed over. Raises ConfigError.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(path, os.strerror(error.errno or 0)) from None
    options: dict[str, Any] = {}
    group = None
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        if line[0] == "[" and line[-1] == "]":
            group = line[1:-1]
            continue
        key, assigned, value = (part.strip() for part in line.partition("="))
        if not assigned or not key or group is None:
            raise _unreadable(path, f"line {number} is no key=value: {line!r}")
        option = _BY_NAME.get(key)
        if group == GROUP and option is not None:
            _add(options, option, _boolean(path, key, value) if option.kind is bool else value)
    return options


def _unreadable(path: str, problem: str) -> ConfigError:
    return ConfigError(f"error loading configuration from path: {path}, {problem}")


def _boolean(path: str, key: str, value: str) -> bool:
    if value not in ("true", "1", "false", "0"):
        raise _unreadable(path, f"{key} must be true or false, not {value!r}")
    return value in ("true", "1")


def load_options(line: QemuGaLine) -> dict[str, Any]:
    """Return all options in force, by name. Raises ConfigError."""
    path = line.config_path or os.environ.get(CONFIG_VARIABLE, CONFIG_PATH)
    options: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for source in (read_config_file(path), line.options):
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
    """Return the options as the text of a config file."""
    lines = []
    for option in OPTIONS:
        value = options[option.name]
        if value is None or (option.name == "allow-rpcs" and not value):
            continue
        text = {True: "true", False: "false"}[value] if option.kind is bool else value
        lines.append(f"{option.name}={';'.join(text) if option.kind is list else text}")
    return f"[{GROUP}]\n" + "\n".join(lines) + "\n"


def usage() -> str:
    """Return the help text."""
    text = "Usage: qemu-ga [-m <method> -p <path>] [<options>]\n\nThe Phoenix agent in the place of qemu-ga.\n\n"
    rows = [((f"-{option.flag}, " if option.flag else "") + f"--{option.name}", option.help) for option in OPTIONS]
    rows += [
        ("-c, --config", f"Read this config file. [{CONFIG_PATH}, or ${CONFIG_VARIABLE}]"),
        ("-D, --dump-conf", "Print the options in force as a config file, and exit."),
        ("-V, --version", "Print the version, and exit."),
        ("-h, --help", "Print this text, and exit."),
    ]
    return text + "".join(f"  {flags:<20}{help}\n" for flags, help in rows)
