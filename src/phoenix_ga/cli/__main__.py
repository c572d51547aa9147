"""The entry point of phoenixctl: loads the program, if what it needs is installed."""

from __future__ import annotations

import sys

# The distribution packages of the [host] extra, by the module that is missing without them.
_PACKAGES = {"click": "click", "rich": "rich"}


def main() -> None:
    """Run phoenixctl with the arguments of this process, and exit."""
    try:
        from phoenix_ga.cli.program import program
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        sys.exit(
            f"phoenixctl: the Python package {_PACKAGES[error.name]} is missing; "
            "install it, or this package with its extra: pip install 'phoenix-guest-agent[host]'"
        )
    program.main()


if __name__ == "__main__":
    main()
