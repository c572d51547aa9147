"""The program `phoenix-qemu-ga`, a replacement for qemu-ga(8)."""

from __future__ import annotations

import os
import sys

from phoenix_ga import __version__
from phoenix_ga.agent.config import Config
from phoenix_ga.agent.init_process import run_below_init
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.qemu_ga.config import QemuGaConfig
from phoenix_ga.agent.qemu_ga.options import dump, load_options, parse_command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# SD_LISTEN_FDS_START of sd_listen_fds(3).
_LISTEN_FDS_START: Final = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the agent with the command line of qemu-ga.

    Returns:
        The exit status: 0 if it was asked to stop, or printed something; 1 if it could not start.
    """
    sys.dont_write_bytecode = True
    try:
        line = parse_command_line(sys.argv[1:] if arguments is None else arguments)
        if line.action == "help":
            from phoenix_ga.agent.qemu_ga.help import usage

            print(usage(), end="")
            return 0
        if line.action == "version":
            print(f"QEMU Guest Agent {line.options.get('qga-version', Config().qga_version)} (Phoenix {__version__})")
            return 0
        if line.action == "list":
            from phoenix_ga.agent.dialects.qga.commands import COMMANDS

            print("\n".join(command.name for command in COMMANDS))
            return 0
        from phoenix_ga.agent.__main__ import parked_state, set_name

        parked = parked_state() if line.action == "serve" else None
        inherited = _inherited_socket()
        tell = None
        if parked is not None:
            config = QemuGaConfig.restore(parked["config"])
        else:
            options = load_options(line)
            if line.action == "dump-conf":
                print(dump(options), end="")
                return 0
            config = QemuGaConfig(options, inherited)
            if options["daemon"]:
                from phoenix_ga.agent.qemu_ga.detach import detach

                tell = detach(options["pidfile"])
        from phoenix_ga.agent.daemon import Daemon

        os.umask(0)
        set_name("qemu-ga")

        def serve() -> int:
            return Daemon(lambda: QemuGaConfig(load_options(line), inherited), config, parked).run(tell)

        return run_below_init(serve, config.run_directory)
    except ConfigError as error:
        print(f"qemu-ga: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"qemu-ga: {where}{error.strerror}", file=sys.stderr)
    return 1


def _inherited_socket() -> int | None:
    """Return the socket passed by systemd, see sd_listen_fds(3), or None. Raises ConfigError."""
    process = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    if process != str(os.getpid()) or not count.isdecimal() or count == "0":
        return None
    if count != "1":
        raise ConfigError(f"systemd passed {count} sockets; there must be one")
    os.set_inheritable(_LISTEN_FDS_START, False)
    return _LISTEN_FDS_START


def run() -> None:
    """Run `main` and exit, without waiting for threads that are stuck in the kernel."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
