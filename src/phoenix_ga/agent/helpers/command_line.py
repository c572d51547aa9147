"""How the agent starts a helper process."""

from __future__ import annotations

import os
import sys

import phoenix_ga

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from phoenix_ga.agent.helpers.%s import main; main()"
)


def command_line(module: str, *words: str) -> list[str]:
    """Return the command that runs `main` of a module of this package. words: its arguments."""
    # The path from which the agent was imported, which may lead into a zip archive.
    tree = os.path.dirname(os.path.abspath(phoenix_ga.__path__[0]))
    return [sys.executable, "-ISB", "-X", "utf8", "-c", _START % module, tree, *words]
