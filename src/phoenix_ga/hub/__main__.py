"""The program phoenix-hub."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import phoenix_ga
from phoenix_ga.hub.config import ConfigError, default_path
from phoenix_ga.hub.daemon import Hub
from phoenix_ga.hub.direct_loop import run_directly


def main() -> None:
    """Run the hub."""
    parser = argparse.ArgumentParser(
        prog="phoenix-hub",
        description="Let many clients use the same guests, each with the rights it was given.",
        epilog="See phoenix-hub(8). Clients: phoenixctl, and everything that speaks to a guest's port.",
    )
    parser.add_argument("--config", type=Path, default=default_path(), help="configuration (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to make the sockets")
    parser.add_argument("--version", action="version", version=f"phoenix-hub {phoenix_ga.__version__}")
    arguments = parser.parse_args()
    try:
        run_directly(Hub(arguments.config, arguments.directory).run(_activated_socket()))
    except (ConfigError, OSError) as error:
        sys.exit(f"phoenix-hub: {error}")


def _activated_socket() -> int | None:
    """Return the descriptor of a socket that a service manager has passed, see sd_listen_fds(3), or None."""
    passed = os.environ.pop("LISTEN_FDS", "0")
    is_for_us = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    return 3 if is_for_us and passed == "1" else None


if __name__ == "__main__":
    main()
