"""Arguments that several verbs take."""

from __future__ import annotations

import click

from phoenix_ga.cli.completion import complete_guest, complete_guest_path

GUEST = click.argument("guest", shell_complete=complete_guest)
PATHS = click.argument("paths", metavar="GUEST:/PATH...", nargs=-1, required=True, shell_complete=complete_guest_path)
