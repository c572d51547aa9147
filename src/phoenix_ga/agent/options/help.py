"""The help text. Loaded only if it is asked for."""

from __future__ import annotations

from phoenix_ga.agent.options.command_line import JSON, PROFILE, REPLACE
from phoenix_ga.agent.options.table import CONFIG_PATH, OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_INDENT: Final = 26
_WIDTH: Final = 100


def usage() -> str:
    """Return the help text."""
    rows = []
    for option in OPTIONS:
        flag = (f"-{option.short}, " if option.short else "    ") + f"--{option.name}"
        default = option.format(option.default)
        rows.append((f"{flag} {option.metavar}".rstrip(), option.help + (f" [{default}]" if default else "")))
    rows += [
        (
            "-c, --config PATH",
            f"Read options from this file; the command line takes precedence. [{CONFIG_PATH}]",
        ),
        ("--install", "Install the agent as a systemd service, start it, and exit."),
        (f"--{REPLACE}", "With --install: replace qemu-guest-agent.service too."),
        (
            f"--{PROFILE} NAME",
            "With --install: allow the host only what backup, probes or read-only needs, in a sandbox.",
        ),
        ("--uninstall", "Undo --install, start qemu-guest-agent.service if it was replaced, and exit."),
        ("--clean-up", "End programs that a dead agent left running, and exit: for ExecStopPost= of the service."),
        ("--self-test", "Check what works in this guest, and exit with 1 if something failed."),
        (f"--{JSON}", "With --self-test: print the results as JSON."),
        ("-D, --dump-config", "Print the options in effect as a config file, and exit."),
        ("-v, --version", "Print the version, and exit."),
        ("-h, --help", "Print this text, and exit."),
    ]
    return (
        "Usage: phoenix-ga [-p PORT]... [OPTION]...\n       phoenix-ga netinit [--dry-run] [PATH]\n\n"
        "Carry out the host's requests from virtio-serial ports.\n\n"
        + format_rows(rows)
        + "\nSIGHUP reloads the config file. SIGTERM completes commands in progress, thaws, and exits.\n"
        "See also phoenix-ga(8).\n"
    )


def format_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Return options and their descriptions in two columns."""
    text = ""
    for flag, help in rows:
        line = f"  {flag:<{_INDENT - 2}}"
        if line[-1] != " ":
            text += line + "\n"
            line = " " * _INDENT
        for word in help.split():
            if len(line) + len(word) > _WIDTH:
                text += line.rstrip() + "\n"
                line = " " * _INDENT
            line += word + " "
        text += line.rstrip() + "\n"
    return text
