"""The agent as one file, as phoenixctl installs it in guests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

import phoenix_ga

_PACKAGED: Final = Path("/usr/share/phoenixctl/phoenix-ga.pyz")
# What an archive of `make pyz` begins with.
_START: Final = b"#!/usr/bin/python3"


def read_agent(path: str | None) -> bytes:
    """Return the agent: the file that the user names, else that of the package, else that of this checkout.

    Raises:
        UsageError: there is none.
    """
    built = Path(phoenix_ga.__file__).parents[2] / "dist" / "phoenix-ga.pyz"
    for place in [Path(path)] if path else [_PACKAGED, built]:
        if place.is_file():
            data = place.read_bytes()
            if not data.startswith(_START):
                raise click.UsageError(f"{place} is not a phoenix-ga.pyz.")
            return data
        if path:
            raise click.UsageError(f"There is no file {place}.")
    raise click.UsageError("There is no phoenix-ga.pyz here. Build it with `make pyz`, and name it with --agent.")
