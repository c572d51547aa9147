"""phoenix-ga, the agent."""

from __future__ import annotations

import os
import sys

from phoenix_ga import __version__
from phoenix_ga.agent.config import ConfigError, load_config, parse_command_line, usage


def main(arguments: list[str] | None = None) -> int:
    """Run the agent with the arguments of its command line; return its exit status.

    0: it was asked to stop, or did what was asked for; 1: it could not.
    """
    # Byte code of modules that are loaded late would be written to a disk that may be frozen.
    sys.dont_write_bytecode = True
    try:
        line = parse_command_line(sys.argv[1:] if arguments is None else arguments)
        if line.action == "help":
            print(usage(), end="")
            return 0
        if line.action == "version":
            print(__version__)
            return 0
        if line.action in ("install", "uninstall"):
            from phoenix_ga.agent.install import install, uninstall

            print(install(line.replace_qemu_ga) if line.action == "install" else uninstall())
            return 0
        config = load_config(line)
        if line.action == "dump-config":
            print(config.dump(), end="")
            return 0
        from phoenix_ga.agent.daemon import Daemon

        # Permissions are given with each file, exactly.
        os.umask(0)
        set_name("phoenix-ga")
        return Daemon(lambda: load_config(line), config).run()
    except ConfigError as error:
        print(f"phoenix-ga: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"phoenix-ga: {where}{error.strerror}", file=sys.stderr)
    return 1


def set_name(name: str) -> None:
    """Let ps(1) and pgrep(1) show the agent under its own name."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    except OSError:
        pass


def run() -> None:
    """Run `main` and end the process, without waiting for threads that are stuck in the kernel."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
