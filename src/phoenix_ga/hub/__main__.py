"""The program phoenix-hub."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path
from typing import Final

import phoenix_ga
from phoenix_ga.hub.config import ConfigError, default_path
from phoenix_ga.hub.daemon import Hub
from phoenix_ga.hub.direct_loop import run_directly

_FILES: Final = 65536


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
    _raise_file_limit()
    try:
        run_directly(Hub(arguments.config, arguments.directory).run(_activated_socket()))
    except (ConfigError, OSError) as error:
        sys.exit(f"phoenix-hub: {error}")


def _raise_file_limit() -> None:
    """Permit as many open files as connections need, two for each, if this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _activated_socket() -> int | None:
    """Return the descriptor of a socket that a service manager has passed, see sd_listen_fds(3), or None."""
    passed = os.environ.pop("LISTEN_FDS", "0")
    is_for_us = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    return 3 if is_for_us and passed == "1" else None


if __name__ == "__main__":
    main()
