"""The verb `raw`: any command, its arguments as they stand in its declaration."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import escape, to_json
from phoenix_ga.cli.path_completion import complete_guest
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.declaration import TYPE_NAMES, Argument
from phoenix_ga.wire.messages import NO_TAG, MessageError, Request, decode_request

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from phoenix_ga.client import Guest, SyncGuest

_REFUSED = 1
_USAGE = 2
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _complete_command(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name, help=command.help.partition(".")[0])
        for name, command in sorted(BY_NAME.items())
        if name.startswith(text)
    ]


def _complete_argument(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    command = BY_NAME.get(context.params.get("command") or "")
    if command is None:
        return []
    return [
        CompletionItem(f"{argument.name}=", help=argument.help)
        for argument in command.arguments
        if argument.name.startswith(text)
    ]


@click.command(
    short_help="Run any command of the agent.",
    epilog="""\b
An argument that the command declares as an integer may be written in octal, such as 0o644;
a boolean is true or false. An argument of a command that phoenixctl does not know is taken
as JSON where it is JSON, else as a string.

With `-` for COMMAND, requests are read from stdin, one JSON object a line, and are run in
turn. Each gets a line of JSON: {"return": VALUE} or {"error": {"text": TEXT, "code": ERRNO}},
with the tag of the request where it had one.

\b
Examples:
  $ phoenixctl raw unix:/run/web1.sock file-chmod path=/etc/motd perm=0o644
  $ echo '{"execute": "ping"}' | phoenixctl raw unix:/run/web1.sock -
""",
)
@click.argument("guest", shell_complete=complete_guest)
@click.argument("command", shell_complete=_complete_command)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=_complete_argument)
@click.pass_obj
def command(options: Options, guest: str, command: str, arguments: tuple[str, ...]) -> int:
    """Run any command of the agent, and print what it returns as JSON."""
    if command == "-":
        if arguments:
            raise click.UsageError("With - the arguments stand in the requests.")
        with options.connect_sync(guest) as connected:
            return _run_lines(connected)
    values = parse_arguments(command, arguments)

    async def work(connected: Guest) -> Any:
        return await connected.execute(command, values)

    return each_guest(options, guest, work, lambda value: (value, to_json(value, 2)))


def parse_arguments(command: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments that words of the form NAME=VALUE mean. Raises click.UsageError."""
    declaration = BY_NAME.get(command)
    declared = {argument.name: argument for argument in declaration.arguments} if declaration is not None else {}
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise click.UsageError(f"Argument {word!r} is not of the form NAME=VALUE.")
        if name in values:
            raise click.UsageError(f"Argument {name!r} is given twice.")
        if declaration is None:
            values[name] = _guess(text)
        elif name in declared:
            values[name] = _parse(declared[name], text)
        else:
            takes = ", ".join(declared) or "none"
            raise click.UsageError(f"{command} has no argument {name!r}; it takes: {takes}.")
    for name, argument in declared.items():
        if argument.required and name not in values:
            raise click.UsageError(f"{command} needs {name}=VALUE: {argument.help}")
    return values


def _parse(argument: Argument, text: str) -> str | int | bool:
    if argument.kind is str:
        return text
    if argument.kind is bool:
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
    else:
        try:
            return int(text, 0)
        except ValueError:
            pass
    wanted = TYPE_NAMES[argument.kind]
    example = "true or false" if argument.kind is bool else "such as 420 or 0o644"
    raise click.UsageError(f"{argument.name}={text} is not of type {wanted}, {example}.")


def _guess(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _run_lines(guest: SyncGuest) -> int:
    """Run the requests on stdin; return the exit status."""
    status = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        try:
            request = decode_request(line)
        except MessageError as error:
            click.echo(f"phoenixctl: line {number}: {escape(str(error))}", err=True)
            status = _USAGE
            continue
        answer = _answer(guest, request)
        if "error" in answer:
            status = status or _REFUSED
        click.echo(to_json(answer))
        sys.stdout.flush()
    return status


def _answer(guest: SyncGuest, request: Request) -> dict[str, Any]:
    from phoenix_ga.client import GuestRefused

    try:
        answer = {"return": guest.execute(request.execute, request.arguments)}
    except GuestRefused as error:
        answer = {"error": {"text": error.text, "code": error.code}}
    if request.tag is not NO_TAG:
        answer["tag"] = request.tag
    return answer
