"""Write docs/commands.md and docs/events.md from the declarations: `python -m tools.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from phoenix_ga.wire.commands import COMMANDS
from phoenix_ga.wire.declaration import TYPE_NAMES, Argument, Command, Example
from phoenix_ga.wire.events import EVENTS
from phoenix_ga.wire.json_text import encode_json
from phoenix_ga.wire.messages import encode_request

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"
EVENTS_TARGET = TARGET.with_name("events.md")

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

EVENTS_HEAD = """\
# Events

    $ phoenixctl events web1 --filter 'ADDRESS_*'
    2026-01-01 12:00:00.250 ADDRESS_ADDED ifname=eth0 ip=192.0.2.10/24

On the wire, [`events`](commands.md#events) opens a stream, on which each event is a line of JSON:

```
{"event": "ADDRESS_ADDED", "data": {"ifname": "eth0", "ip": "192.0.2.10/24"},
 "timestamp": {"seconds": 1767268800, "microseconds": 250000}}
```

- `timestamp` is the time of the guest; of an event that the client makes, that of the host.
- Nothing is told of what happened before the stream was opened.
- The kernel wakes the agent. While nothing happens, a subscription takes no CPU time; without one, nothing is
  watched.
- The agent keeps the oldest 500 events for a client that does not read, and tells how many others it dropped. Changes
  of the same interface or device that were not sent yet become one event.
- Names and texts come from the guest: escape them before you show them.

`make generate` writes this page from `src/phoenix_ga/wire/events.py`.
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
    "wait-for": "waiting",
    "events": "events",
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


def render_events() -> str:
    """Return the page about events."""
    lines = [EVENTS_HEAD, "| event | when |", "|---|---|"]
    for event in EVENTS:
        lines.append(f"| [`{event.name}`](#{event.name.lower()}) | {event.help.partition('. ')[0].rstrip('.')} |")
    for event in EVENTS:
        made = " The client makes this event." if event.by_client else ""
        lines += ["", f"## {event.name}", "", event.help + made, "", "| member | type | meaning |", "|---|---|---|"]
        lines += [f"| `{each.name}` | {TYPE_NAMES[each.kind]} | {each.help} |" for each in event.members]
        lines += ["", "```", encode_json(event.example).decode(), "```"]
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
    pages = {TARGET: render(), EVENTS_TARGET: render_events()}
    if parser.parse_args().check:
        return 0 if all(path.exists() and path.read_text() == text for path, text in pages.items()) else 1
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
