"""The help text. Loaded only if it is asked for."""

from __future__ import annotations

from phoenix_ga.agent.options.help import format_rows
from phoenix_ga.agent.options.table import BY_NAME
from phoenix_ga.agent.qemu_ga.options import CONFIG_PATH, CONFIG_VARIABLE, OPTIONS, OURS


def usage() -> str:
    """Return the help text."""
    rows = []
    for option in OPTIONS:
        flag = f"-{option.flag}, " if option.flag else "    "
        default = f" [{BY_NAME[option.name].format(BY_NAME[option.name].default)}]" if option.name in OURS else ""
        rows.append((f"{flag}--{option.name}", option.help + default))
    rows += [
        ("-c, --config", f"Read this config file. [{CONFIG_PATH}, or ${CONFIG_VARIABLE}]"),
        ("-D, --dump-conf", "Print the options in effect as a config file, and exit."),
        ("-V, --version", "Print the version, and exit."),
        ("-h, --help", "Print this text, and exit."),
    ]
    return (
        "Usage: qemu-ga [-m <method> -p <path>] [<options>]\n\nThe Phoenix agent as a replacement for qemu-ga.\n\n"
        + format_rows(rows)
    )
