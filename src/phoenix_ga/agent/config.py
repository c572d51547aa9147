"""The agent's options: each declared once, for the command line, the config file and the docs."""

from __future__ import annotations

import os

from phoenix_ga.agent.protocol.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

CONFIG_PATH: Final = "/etc/phoenix-ga.conf"
SECTION: Final = "general"
FREEZE_HOOKS: Final = "/etc/phoenix-ga/fsfreeze-hook.d"
DEFAULT_PORTS: Final = ("/dev/virtio-ports/org.guest-agent.0", "/dev/virtio-ports/org.qemu.guest_agent.0")


class ConfigError(ValueError):
    """The command line or the config file can't be understood. The text says where and why."""


class Option:
    """name: the key in the config file and, behind dashes, on the command line. default: its type
    is the option's type; a tuple is a list. metavar: what its value is called. help: what it does.
    short: a one-letter flag. minimum: of a number. repeated: on the command line, a list is given one by one,
    for a path may hold a comma.
    """

    __slots__ = ("default", "help", "metavar", "minimum", "name", "repeated", "short")

    def __init__(
        self,
        name: str,
        default: bool | int | str | tuple[str, ...],
        metavar: str,
        help: str,
        *,
        short: str = "",
        minimum: int = 1,
        repeated: bool = False,
    ) -> None:
        self.name = name
        self.default = default
        self.metavar = metavar
        self.help = help
        self.short = short
        self.minimum = minimum
        self.repeated = repeated

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    def parse(self, text: str) -> Any:
        """Return the value that `text` means. Raises ConfigError."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "yes", "on", "1"):
                return True
            if text.lower() in ("false", "no", "off", "0"):
                return False
            raise ConfigError(f"{self.name} must be true or false, not {text!r}")
        if isinstance(self.default, int):
            try:
                value = int(text)
            except ValueError:
                raise ConfigError(f"{self.name} must be a whole number, not {text!r}") from None
            if value < self.minimum:
                raise ConfigError(f"{self.name} must be at least {self.minimum}, not {value}")
            return value
        if isinstance(self.default, tuple):
            return tuple(part.strip() for part in text.replace(";", ",").split(",") if part.strip())
        return text

    def format(self, value: Any) -> str:
        """Return the text that `parse` takes for `value`."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ", ".join(value)
        return str(value)


OPTIONS: Final = (
    Option(
        "port",
        DEFAULT_PORTS,
        "PORT",
        "Where to answer; may be given several times. The path of a virtio-serial port, unix:PATH (listens "
        "there, for root and the agent's own user), vsock:PORT (listens there, for the host) or tty:PATH. A "
        "path that is not there is waited for.",
        short="p",
        repeated=True,
    ),
    Option("log-file", "", "PATH", "Append the log to this file instead of writing it to standard error."),
    Option("debug", False, "", "Log each request."),
    Option(
        "allow",
        (),
        "NAMES",
        "Run only these commands: names or patterns such as file-*, with commas between.",
    ),
    Option("block", (), "NAMES", "Never run these commands; wins over allow."),
    Option("read-only", False, "", "Refuse every command that changes the guest."),
    Option("max-handles", 256, "COUNT", "How many files may be open by file-open at once."),
    Option("max-commands", 1024, "COUNT", "How many commands may be under way at once."),
    Option("max-streams", 1024, "COUNT", "How many streams one client may have open at once."),
    Option("max-workers", 16, "COUNT", "How many commands that may block run at once; the others wait."),
    Option("max-clients", 64, "COUNT", "How many clients a listening port serves at once."),
    Option("line-limit", 64 * 1024 * 1024, "BYTES", "The longest request that is taken.", minimum=1024),
    Option("listing-limit", 100_000, "COUNT", "The most entries that directory-list returns."),
    Option(
        "stop-timeout",
        10,
        "SECONDS",
        "How long to wait, when asked to stop, for the commands that are under way.",
        minimum=0,
    ),
    Option(
        "freeze-timeout",
        600,
        "SECONDS",
        "After how long a freeze ends by itself, where it does not say so itself; 0 for never.",
        minimum=0,
    ),
    Option(
        "freeze-hook",
        (FREEZE_HOOKS,),
        "PATH",
        "What to run before filesystems are frozen and after they are thawed: a program, or a directory of programs; "
        "may be given several times.",
        repeated=True,
    ),
    Option(
        "hook-timeout",
        60,
        "SECONDS",
        "How long each of these may take before it is ended, and has failed; 0 for any time.",
        minimum=0,
    ),
    Option(
        "qga-version",
        "10.1.0",
        "VERSION",
        "Which version of QEMU's own agent guest-info tells; management software compares it.",
    ),
    Option("run-directory", "/run/phoenix-ga", "PATH", "Where to keep what a restarted agent must know; on a tmpfs."),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}


class Config:
    """The options in force, an attribute each.

    speaks_qga_first: on all ports, what is not understood is answered as the QEMU Guest Agent does.
    waits_for_ports: a device that is missing, or goes away, is waited for; otherwise the agent ends.
    clients_queue: clients of a listening port beyond the limit wait, instead of being turned away.
    state_directory: where the dialect of the QEMU Guest Agent keeps its state. frozen_marker: the path of a file
    that is to be there while filesystems are frozen; empty for none.
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
    freeze_timeout: int
    freeze_hook: tuple[str, ...]
    hook_timeout: int
    qga_version: str
    run_directory: str

    def __init__(self, **given: Any) -> None:
        for option in OPTIONS:
            setattr(self, option.attribute, given.get(option.attribute, option.default))
        self.state_directory = self.run_directory

    def make_policy(self) -> Policy:
        """Return what these options permit."""
        return Policy(self.allow, self.block, self.read_only)

    def dump(self) -> str:
        """Return the options as the text of a config file."""
        lines = [f"{option.name} = {option.format(getattr(self, option.attribute))}" for option in OPTIONS]
        return f"[{SECTION}]\n" + "".join(line.rstrip() + "\n" for line in lines)


class CommandLine:
    """What the command line said. options: by attribute. config_path: the file to read, and whether
    it was named (`config_named`). action: "serve", "help", "version", "dump-config", "install" or
    "uninstall". replace_qemu_ga: where it is "install".
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.config_path = CONFIG_PATH
        self.config_named = False
        self.action = "serve"
        self.replace_qemu_ga = False


_ACTIONS: Final = {
    "h": "help",
    "help": "help",
    "v": "version",
    "version": "version",
    "D": "dump-config",
    "dump-config": "dump-config",
    "install": "install",
    "uninstall": "uninstall",
}
_REPLACE: Final = "replace-qemu-ga"


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Parse what follows the program's name. One dash and two are the same: `-debug`, `--debug`.

    Raises ConfigError.
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
        if name == _REPLACE and not assigned:
            line.replace_qemu_ga = True
            continue
        option = flags.get(name)
        if option is None and name not in ("c", "config"):
            raise ConfigError(f"unknown option {word!r}; see phoenix-ga --help")
        if option is not None and isinstance(option.default, bool):
            line.options[option.attribute] = option.parse(value) if assigned else True
            continue
        if not assigned:
            value = next(rest, "")
        if not value:
            raise ConfigError(f"option {word!r} needs a value")
        if option is None:
            line.config_path, line.config_named = value, True
        elif isinstance(option.default, tuple):
            parsed = (value,) if option.repeated else option.parse(value)
            line.options[option.attribute] = line.options.get(option.attribute, ()) + parsed
        else:
            line.options[option.attribute] = option.parse(value)
    if line.replace_qemu_ga and line.action != "install":
        raise ConfigError(f"--{_REPLACE} goes with --install only")
    return line


def read_config_file(path: str, required: bool) -> dict[str, Any]:
    """Return the options that the config file at `path` sets, by attribute.

    A file that is not there sets none, unless it is required. Raises ConfigError.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: no such file") from None
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None
    options: dict[str, Any] = {}
    section = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
            if section != SECTION:
                raise ConfigError(f"{path}, line {number}: unknown section [{section}]; there is only [{SECTION}]")
            continue
        name, assigned, value = (part.strip() for part in line.partition("="))
        if not section:
            raise ConfigError(f"{path}, line {number}: the line [{SECTION}] must come first")
        option = BY_NAME.get(name)
        if not assigned or option is None:
            raise ConfigError(f"{path}, line {number}: no option {name!r}; phoenix-ga --help lists them")
        try:
            options[option.attribute] = option.parse(value)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    return options


def load_config(line: CommandLine) -> Config:
    """Return the options in force: the command line's, else the config file's, else the defaults.

    Raises ConfigError.
    """
    config = Config(**{**read_config_file(line.config_path, line.config_named), **line.options})
    if not config.port:
        raise ConfigError("there is no port to answer on; give one with -p PORT")
    return config


def usage() -> str:
    """Return the help text."""
    rows = []
    for option in OPTIONS:
        flag = (f"-{option.short}, " if option.short else "    ") + f"--{option.name}"
        default = option.format(option.default)
        rows.append((f"{flag} {option.metavar}".rstrip(), option.help + (f" [{default}]" if default else "")))
    rows += [
        ("-c, --config PATH", f"Read options from this file; the command line wins. [{CONFIG_PATH}]"),
        (
            "--install",
            "Install the agent as a service of systemd, which runs now and at each boot, and exit.",
        ),
        (f"--{_REPLACE}", "With --install: take the place of qemu-guest-agent.service too."),
        ("--uninstall", "Remove what --install installed, let qemu-guest-agent.service back, and exit."),
        ("-D, --dump-config", "Print the options in force as a config file, and exit."),
        ("-v, --version", "Print the version, and exit."),
        ("-h, --help", "Print this text, and exit."),
    ]
    text = "Usage: phoenix-ga [-p PORT]... [OPTION]...\n\nAnswer the host's requests on virtio-serial ports.\n\n"
    for flag, help in rows:
        text += f"  {flag:<24}"
        column = 26
        if len(flag) > 23:
            text += "\n" + " " * 26
        for word in help.split():
            if column + len(word) > 100:
                text += "\n" + " " * 26
                column = 26
            text += word + " "
            column += len(word) + 1
        text = text.rstrip(" ") + "\n"
    return text + "\nSIGHUP reads the config file again. SIGTERM finishes what was begun, thaws, and exits.\n"
