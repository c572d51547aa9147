"""`phoenixctl raw`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import REFUSED, USAGE, about_guest, complain
from phoenix_ga.cli.output import to_json
from phoenix_ga.cli.selection import select_one
from phoenix_ga.cli.verb import verb
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.declaration import TYPE_NAMES, Argument
from phoenix_ga.wire.messages import NO_TAG, MessageError, Request, decode_request

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from phoenix_ga.client import Guest, SyncGuest

_EXAMPLES = {int: "420 or 0o644", bool: "true or false", list: '["ls", "-l"]', dict: '{"LANG": "C"}'}
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


@verb(
    short_help="Run any command of the agent.",
    epilog="""\b
The form of VALUE depends on the declared type of the argument:
  string            the text itself
  integer           420, 0o644 or 0x1a4
  boolean           true or false
  array, object     JSON, such as '["ls", "-l"]'
If phoenixctl does not know the command, VALUE is JSON if it is valid, else a string.

\b
With `-` for COMMAND, requests are read from stdin, one JSON object a line, and run in turn.
The answer to each is a line of JSON: {"return": VALUE} or {"error": {"text": TEXT, "code":
ERRNO}}, with the tag of the request if it had one.

\b
Examples:
  $ phoenixctl raw web1 file-chmod path=/etc/motd perm=0o644
  $ echo '{"execute": "ping"}' | phoenixctl raw web1 -
""",
)
@GUEST
@click.argument("command", shell_complete=_complete_command)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=_complete_argument)
@click.pass_obj
def command(options: Options, guest: str, command: str, arguments: tuple[str, ...]) -> int:
    """Run any command of the agent, and print the result as JSON."""
    if command == "-":
        if arguments:
            raise click.UsageError("With -, the arguments are part of the requests.")
        known = select_one(guest)
        with about_guest(known.name), options.connect_sync(known) as connected:
            return _run_lines(connected)
    values = parse_arguments(command, arguments)

    async def work(connected: Guest) -> Any:
        return await connected.call(command, values)

    return each_guest(options, guest, work, lambda value: (value, to_json(value, 2)))


def parse_arguments(command: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Parse words of the form NAME=VALUE. Raises click.UsageError."""
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
            accepted = ", ".join(declared) or "none"
            raise click.UsageError(f"{command} has no argument {name!r}; it accepts: {accepted}.")
    for name, argument in declared.items():
        if argument.required and name not in values:
            raise click.UsageError(f"{command} needs {name}=VALUE: {argument.help}")
    return values


def _parse(argument: Argument, text: str) -> Any:
    if argument.kind is str or text in argument.words:
        return text
    value: Any = None
    try:
        if argument.kind is int:
            value = int(text, 0)
        elif argument.kind is bool:
            value = _BOOLEANS.get(text.lower())
        else:
            value = json.loads(text)
            argument.check(value)
    except ValueError:
        value = None
    if value is None:
        wanted, example = TYPE_NAMES[argument.kind], _EXAMPLES[argument.kind]
        raise click.UsageError(f"{argument.name}={text} is not of type {wanted}, such as {example}.")
    return value


def _guess(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _run_lines(guest: SyncGuest) -> int:
    """Run the requests from stdin; return the exit status."""
    status = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        try:
            request = decode_request(line)
        except MessageError as error:
            complain(f"line {number}: {error}", USAGE)
            status = USAGE
            continue
        answer = _answer(guest, request)
        if "error" in answer:
            status = status or REFUSED
        click.echo(to_json(answer))
        sys.stdout.flush()
    return status


def _answer(guest: SyncGuest, request: Request) -> dict[str, Any]:
    from phoenix_ga.client import CommandError

    try:
        answer = {"return": guest.call(request.execute, request.arguments)}
    except CommandError as error:
        answer = {"error": {"text": error.text, "code": error.code}}
    if request.tag is not NO_TAG:
        answer["tag"] = request.tag
    return answer
