"""`phoenixctl hub`"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from phoenix_ga.cli import terminal
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.hub_clients import Rates, clients_table, event_text
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.verb import verb

_ACTIONS = {"status": 0, "watch": 0, "release": 1, "reload": 0, "explain": 3, "audit": 0}
# Seconds between two tables of `status -f`.
_INTERVAL = 1.0
# Control sequences: the cursor to the upper left corner; delete to the end of the line; to the end of the screen.
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_UNIT = "phoenix-hub.service"


@verb(
    short_help="Show and control the hub, which lets many clients use a guest.",
    epilog="""\b
ACTION is one of:
  status                      the guests that the hub offers, and their clients; the default
  watch                       guests and clients that come and go, and ports that are opened and
                              closed, as it happens
  release GUEST               free the port of a guest, for a program that must have it
  reload                      read the configuration and look for guests again
  explain USER GUEST COMMAND  say whether a user may use a command, and by which rule
  audit                       print the record of changes and refusals

`release` takes a pattern. The hub takes the port again at the next request for the guest.
`status -f` shows what each client sends and receives in a second, until Ctrl-C.

\b
Examples:
  $ phoenixctl hub status
  $ phoenixctl hub status -f
  $ phoenixctl hub explain backup web1 fs-freeze
  $ phoenixctl hub audit --guest web1
""",
)
@click.argument("action", type=click.Choice(list(_ACTIONS)), default="status", metavar="[ACTION]")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--guest", metavar="NAME", help="audit: only requests for this guest.")
@click.option("--user", metavar="NAME", help="audit: only requests of this user.")
@click.option("-f", "--follow", is_flag=True, help="status, audit: go on until Ctrl-C.")
@click.pass_obj
def command(
    options: Options, action: str, words: tuple[str, ...], guest: str | None, user: str | None, follow: bool
) -> None:
    """Show and control the hub."""
    if len(words) != _ACTIONS[action]:
        raise click.UsageError(f"{action} takes {_ACTIONS[action] or 'no'} argument{'s' * (_ACTIONS[action] != 1)}.")
    if action == "audit":
        _audit(options, guest, user, follow)
    elif action == "explain":
        _explain(options, *words)
    elif action == "release":
        released = _ask(options, "release", guest=words[0])
        options.show(released, "\n".join(f"released {escape(str(name))}" for name in released))
    elif action == "reload":
        _ask(options, "reload")
    elif action == "watch":
        _watch(options)
    elif follow:
        _follow(options)
    else:
        _show(options, _ask(options, "status"))


def _ask(options: Options, execute: str, **arguments: str) -> Any:
    from phoenix_ga.client.hub_control import TIMEOUT, ask_hub

    return ask_hub(execute, timeout=options.timeout or TIMEOUT, **arguments)


def _explain(options: Options, user: str, guest: str, name: str) -> None:
    verdict = _ask(options, "explain", user=user, guest=guest, command=name)
    may = "may" if verdict["allowed"] else "may not"
    options.show(verdict, escape(f"{user} {may} use {name} on guest {guest}: {verdict['reason']}"))


def _show(options: Options, guests: list[dict[str, Any]], rates: Rates | None = None) -> None:
    if options.json:
        for each in guests:
            options.show(each, "")
    else:
        options.show(None, clients_table(guests, rates))


def _follow(options: Options) -> None:
    """Show what the clients send and receive, again and again; on a terminal in the same place."""
    rates = Rates()
    in_place = sys.stdout.isatty() and not options.json
    asked = 0.0
    while True:
        guests = _ask(options, "status")
        before, asked = asked, time.monotonic()
        rates.update(guests, asked - before)
        if in_place:
            rows, columns = terminal.size()
            lines = click.unstyle(clients_table(guests, rates)).split("\n")[: rows - 1]
            text = "".join(f"{line[: columns - 1]}{_END_OF_LINE}\n" for line in lines)
            click.echo(f"{_HOME}{text}{_END_OF_SCREEN}", nl=False)
        else:
            _show(options, guests, rates)
            sys.stdout.flush()
        time.sleep(_INTERVAL)


def _watch(options: Options) -> None:
    from phoenix_ga.client.hub_control import TIMEOUT, watch_hub

    for event in watch_hub(options.timeout or TIMEOUT):
        options.show(event, escape(event_text(event)))
        sys.stdout.flush()


def _audit(options: Options, guest: str | None, user: str | None, follow: bool) -> None:
    for line in _audit_lines(_ask(options, "record"), follow):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "command" not in entry:
            continue
        if guest in (None, entry.get("guest")) and user in (None, entry.get("user")):
            options.show(entry, _audit_text(entry))


def _audit_text(entry: dict[str, Any]) -> str:
    arguments = " ".join(f"{name}={json.dumps(value)}" for name, value in entry.get("arguments", {}).items())
    words = (entry.get(name, "") for name in ("time", "user", "program", "guest", "command"))
    return escape(" ".join([*map(str, words), arguments, f"- {entry.get('result')}"]))


def _audit_lines(path: str, follow: bool) -> Iterator[str]:
    """Return the lines of the record: of its file or, without one, of the journal."""
    if path:
        program = ["tail", "-n", "+1", *(["-F"] if follow else []), "--", path]
    else:
        program = ["journalctl", "--output", "cat", "--unit", _UNIT, *(["--follow", "--no-tail"] if follow else [])]
    try:
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, errors="replace")
    except FileNotFoundError:
        raise click.ClickException(f"{program[0]} is missing; without it, the record cannot be read") from None
    with process:
        try:
            assert process.stdout is not None
            yield from process.stdout
        finally:
            process.terminate()
