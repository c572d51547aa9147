"""What the verbs that freeze have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import complain

if TYPE_CHECKING:
    from phoenix_ga.client import FreezeProgress, SkippedFilesystem

AUTO_THAW = click.option(
    "--auto-thaw",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Thaw automatically after this time; 0: never. Default: the agent's freeze-timeout.",
)
MOUNTPOINTS = click.option(
    "--mountpoint",
    "mountpoints",
    multiple=True,
    metavar="PATH",
    help="Freeze only the filesystem that is mounted here; can be repeated.",
)
# Why a filesystem is not frozen.
REASONS: Final = {
    "read-only": "it is read-only",
    "fuse": "the kernel cannot freeze FUSE",
    "network": "it is a network filesystem",
    "overlay": "its upper filesystem counts",
    "unsupported": "its type does not support freezing",
    "foreign": "another program has frozen it",
}


def skipped_text(skipped: SkippedFilesystem) -> str:
    """Return a sentence about a filesystem that is not frozen."""
    return f"{skipped.mountpoint} is not frozen: {REASONS.get(skipped.reason, skipped.reason)}"


def show_progress(options: Options) -> FreezeProgress | None:
    """Return a function that prints what a guest that is being frozen does, or None if nobody watches."""
    if options.json or not os.isatty(2):
        return None

    def show(name: str, stage: str) -> None:
        if stage:
            complain(f"freezing: {stage}", guest=name)

    return show
