"""The program `phoenix-ga`."""

from __future__ import annotations

import os
import sys

from phoenix_ga import __version__
from phoenix_ga.agent.config import Config, load_config
from phoenix_ga.agent.init_process import run_below_init
from phoenix_ga.agent.options.command_line import parse_command_line
from phoenix_ga.agent.options.option import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run the agent.

    Returns:
        The exit status: 0 if it was asked to stop, or printed or installed something; 1 if it failed.
    """
    # Importing a module late must not write byte code to a disk that may be frozen.
    sys.dont_write_bytecode = True
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["netinit"]:
            from phoenix_ga.agent.netinit import main as netinit

            return netinit(words[1:])
        line = parse_command_line(words)
        if line.action == "help":
            from phoenix_ga.agent.options.help import usage

            print(usage(), end="")
            return 0
        if line.action == "version":
            print(__version__)
            return 0
        if line.action in ("install", "uninstall"):
            from phoenix_ga.agent.install import install, uninstall

            print(install(line.replace_qemu_ga, line.profile) if line.action == "install" else uninstall())
            return 0
        if line.action == "clean-up":
            from phoenix_ga.agent.operations.program_groups import clean_up, find_unit_group

            clean_up(find_unit_group())
            return 0
        parked = parked_state() if line.action == "serve" else None
        config = load_config(line) if parked is None else Config.restore(parked["config"])
        if line.action == "dump-config":
            print(config.dump(), end="")
            return 0
        if line.action == "self-test":
            return _self_test(config, line.json)
        from phoenix_ga.agent.daemon import Daemon

        # Each file gets exactly its own permissions.
        os.umask(0)
        set_name("phoenix-ga")
        return run_below_init(lambda: Daemon(lambda: load_config(line), config, parked).run(), config.run_directory)
    except ConfigError as error:
        print(f"phoenix-ga: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"phoenix-ga: {where}{error.strerror}", file=sys.stderr)
    return 1


def _self_test(config: Config, as_json: bool) -> int:
    """Print what works and what does not, and return the exit status."""
    from phoenix_ga.agent.context import run_self_test
    from phoenix_ga.agent.operations.self_test import FAILED, find_agent
    from phoenix_ga.wire.json_text import encode_json

    # A sandbox of the service restricts the agent, and not what is started from a shell.
    results = run_self_test(config, dict.fromkeys(("/proc/self", find_agent())))
    if as_json:
        print(encode_json(results).decode())
    else:
        for each in results:
            print(f"{each['state']:8} {each['name']}: {each['text']}")
    return 1 if any(each["state"] == FAILED for each in results) else 0


def parked_state() -> dict[str, Any] | None:
    """Return what this process knew when it parked, or None if it is a new one."""
    if "PHOENIX_GA_PARKED" not in os.environ:
        return None
    from phoenix_ga.agent.parking import take_parked_state

    return take_parked_state()


def set_name(name: str) -> None:
    """Set the name that ps(1) and pgrep(1) show."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    except OSError:
        pass


def run() -> None:
    """Run `main` and exit, without waiting for threads that are stuck in the kernel."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
