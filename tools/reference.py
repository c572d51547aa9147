"""Write the reference of commands from their declarations: `python -m tools.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import TYPE_NAMES, Argument, Command, Example
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import encode_request

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"

HEAD = """\
# Commands

This page is written by `make docs` from the declarations in `src/phoenix_ga/wire/commands.py`.
The examples are run, in this order, against the agent in a real guest by the tests. Each is a line to
type into `socat - UNIX-CONNECT:SOCKET` and the answer to it. Values that differ from guest to guest
are those of one guest; a handle is whatever `file-open` returned.

Every command may also be refused: with `EINVAL` for arguments that are missing, unknown or of the wrong
type, `EPERM` by the guest's policy, `EBUSY` while filesystems are frozen (unless it says below that it is
served then), `EAGAIN` where too many commands are under way, and -1 where the line is no request or there
is no such command. [protocol.md](protocol.md) has the form of requests and answers.
"""


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    lines.append("| command | what it does | changes the guest | while frozen |")
    lines.append("|---|---|---|---|")
    for command in COMMANDS:
        frozen = "yes" if command.while_frozen else ""
        first = command.help.split(". ")[0].split(".\n")[0].rstrip(".")
        lines.append(f"| [`{command.name}`](#{command.name}) | {first} | {_changes(command)} | {frozen} |")
    for command in COMMANDS:
        lines += ["", *_section(command)]
    return "\n".join(lines) + "\n"


def _changes(command: Command) -> str:
    if isinstance(command.changes, tuple):
        name, value = command.changes
        return f"with `{name}` `{value}`"
    return "yes" if command.changes else ""


def _section(command: Command) -> Iterator[str]:
    yield f"## {command.name}"
    yield ""
    yield command.help
    if command.aliases:
        yield ""
        yield f"Old name, deprecated: {', '.join(f'`{alias}`' for alias in command.aliases)}."
    if command.arguments:
        yield ""
        yield "| argument | type | default | meaning |"
        yield "|---|---|---|---|"
        for argument in command.arguments:
            yield f"| `{argument.name}` | {TYPE_NAMES[argument.kind]} | {_default(argument)} | {argument.help} |"
    yield ""
    yield f"Returns: {command.returns}"
    if command.errors:
        yield ""
        yield "Errors: " + "; ".join(f"`{name}`: {when}" for name, when in command.errors) + "."
    yield ""
    yield "```"
    for example in command.examples:
        yield from _example(command, example)
    yield "```"


def _default(argument: Argument) -> str:
    return "(required)" if argument.required else f"`{encode_json(argument.default).decode()}`"


def _example(command: Command, example: Example) -> Iterator[str]:
    if example.opens:
        yield encode_request("file-open", {"path": example.opens}).decode().rstrip()
        yield f'{{"return": {example.arguments["handle_id"]}}}'
    yield encode_request(command.name, example.arguments).decode().rstrip()
    yield f'{{"return": {encode_json(example.answer).decode()}}}'


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/commands.md from the declarations of the commands.")
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    if parser.parse_args().check:
        return 0 if TARGET.read_text() == render() else 1
    TARGET.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
