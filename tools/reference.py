"""Write docs/commands.md from the declarations of the commands: `python -m tools.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import TYPE_NAMES, Argument, Command, Example
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import encode_request

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"

HEAD = """\
# Commands

Send a request as one line of JSON, and read the answer as one line:

```
$ echo '{"execute": "ping"}' | socat - UNIX-CONNECT:SOCKET,shut-none
{"return": "1.0.0"}
```

[protocol.md](protocol.md) describes requests, answers and streams.

- Each example is a request and its answer. The tests run them against the agent in a real guest, in the order of
  this page. Some values depend on the guest. Use the handle that `file-open` returned.
- Every command can fail with `EINVAL` (an argument is missing, unknown, or of the wrong type or value), `EPERM` (the
  guest's policy forbids it), `EBUSY` (filesystems are frozen, and the command could touch them), `EAGAIN` (too many
  commands are running) or -1 (the line is not a request, or the command does not exist). "Errors" lists the others.
- "Python" is the method of the [client library](client.md), on the object `guest`.

`make generate` writes this page from `src/phoenix_ga/wire/commands/`.
"""

# The methods that are not generated from the declarations.
METHODS: Final = {
    "get-digests": "digests",
    "file-write": "files.write_handle",
    "file-glob": "files.glob",
    "directory-entries": "files.scan",
    "file-tail": "files.tail",
    "directory-find": "files.find",
    "directory-usage": "files.usage",
    "file-get": "files.get_stream",
    "file-put": "files.put_stream",
    "directory-get": "files.get_tree_stream",
    "directory-put": "files.put_tree_stream",
    "sftp": "sftp",
    "exec": "exec",
    "exec-attach": "processes.attach",
    "listen": "listen",
    "connect": "connect",
    "fs-freeze": "filesystems.freeze",
    "get-freeze-status": "filesystems.status",
    "wait-for": "wait_for",
}


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    lines.append("| command | purpose | changes the guest | served while frozen |")
    lines.append("|---|---|---|---|")
    for command in COMMANDS:
        frozen = "yes" if command.while_frozen else ""
        summary = command.help.split(". ")[0].split(".\n")[0].rstrip(".")
        lines.append(f"| [`{command.name}`](#{command.name}) | {summary} | {_changes(command)} | {frozen} |")
    for command in COMMANDS:
        lines += ["", *_section(command)]
    return "\n".join(lines) + "\n"


def _changes(command: Command) -> str:
    if isinstance(command.changes, tuple):
        name, value = command.changes
        return f"if `{name}` is `{value}`"
    return "yes" if command.changes else ""


def _section(command: Command) -> Iterator[str]:
    yield f"## {command.name}"
    yield ""
    yield command.help
    if command.aliases:
        yield ""
        yield f"Deprecated name: {', '.join(f'`{alias}`' for alias in command.aliases)}."
    if command.arguments:
        yield ""
        yield "| argument | type | default | meaning |"
        yield "|---|---|---|---|"
        for argument in command.arguments:
            yield f"| `{argument.name}` | {_type(argument)} | {_default(argument)} | {argument.help} |"
    yield ""
    yield f"Returns: {command.returns}"
    if command.errors:
        yield ""
        yield "Errors: " + "; ".join(f"`{name}`: {cause}" for name, cause in command.errors) + "."
    method = command.method or METHODS.get(command.name)
    if method:
        yield ""
        yield f"Python: `guest.{method}`"
    if command.examples:
        yield ""
        yield "```"
        for example in command.examples:
            yield from _example(command, example)
        yield "```"


def _type(argument: Argument) -> str:
    return TYPE_NAMES[argument.kind] + (" or string" if argument.words else "")


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
    parser.add_argument("--check", action="store_true", help="Only check that the page is up to date.")
    if parser.parse_args().check:
        return 0 if TARGET.read_text() == render() else 1
    TARGET.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
