"""`phoenixctl hub`"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.output import duration, escape, size, titled_table
from phoenix_ga.cli.verb import verb

_ACTIONS = {"status": 0, "release": 1, "reload": 0, "explain": 3, "audit": 0}
_UNIT = "phoenix-hub.service"


@verb(
    short_help="Show and control the hub, which lets many clients use a guest.",
    epilog="""\b
ACTION is one of:
  status                      the guests that the hub offers, and their clients; the default
  release GUEST               free the port of a guest, for a program that must have it
  reload                      read the configuration and look for guests again
  explain USER GUEST COMMAND  say whether a user may use a command, and by which rule
  audit                       print the record of changes and refusals

`release` takes a pattern. The hub takes the port again at the next request for the guest.

\b
Examples:
  $ phoenixctl hub status
  $ phoenixctl hub explain backup web1 fs-freeze
  $ phoenixctl hub audit --guest web1
""",
)
@click.argument("action", type=click.Choice(list(_ACTIONS)), default="status", metavar="[ACTION]")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--guest", metavar="NAME", help="audit: only requests for this guest.")
@click.option("--user", metavar="NAME", help="audit: only requests of this user.")
@click.option("-f", "--follow", is_flag=True, help="audit: print new lines as they come.")
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
    else:
        guests = _ask(options, "status")
        if options.json:
            for each in guests:
                options.show(each, "")
        else:
            options.show(None, _as_text(guests))


def _ask(options: Options, execute: str, **arguments: str) -> Any:
    from phoenix_ga.client.hub_control import TIMEOUT, ask_hub

    return ask_hub(execute, timeout=options.timeout or TIMEOUT, **arguments)


def _explain(options: Options, user: str, guest: str, name: str) -> None:
    verdict = _ask(options, "explain", user=user, guest=guest, command=name)
    may = "may" if verdict["allowed"] else "may not"
    options.show(verdict, escape(f"{user} {may} use {name} on guest {guest}: {verdict['reason']}"))


def _as_text(guests: list[dict[str, Any]]) -> str:
    rows = [("guest", "port", "user", "program", "since", "streams", "received", "sent")]
    for guest in guests:
        first = (guest["name"], guest["state"])
        for client in guest["clients"] or [None]:
            rows.append((*first, *_client_row(client)))
            first = ("", "")
    return titled_table(rows[0], rows[1:], "no guests, or none that you may use")


def _client_row(client: dict[str, Any] | None) -> tuple[str, ...]:
    if client is None:
        return ("-",) * 6
    since = duration(max(0, int(time.time() - client["since"])))
    program = f"{client['program']}({client['pid']})"
    return (client["user"], program, since, str(client["streams"]), *(size(client[n]) for n in ("received", "sent")))


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
