"""What is wrong with a request whatever its command is, for each command."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.commands import COMMANDS
from tests.guest.qga_transcript import Row

# Those that came after version 7.2, which so has no arguments of theirs to look at.
_NEWER = ("guest-get-load", "guest-network-get-route")

ROWS: tuple[Row, ...] = tuple(
    row
    for command in COMMANDS
    for row in (
        Row(
            f"{command.name} with an argument that it does not have",
            f'{{"execute": "{command.name}", "arguments": {{"no-such-argument": 1}}}}',
            differs="newer" if command.name in _NEWER else "",
        ),
        Row(f"{command.name} with a list of arguments", f'{{"execute": "{command.name}", "arguments": [1]}}'),
        Row(f"{command.name} with a member too many", f'{{"execute": "{command.name}", "id": 1, "tag": 2}}'),
    )
)
