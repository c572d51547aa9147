"""`phoenixctl guests`"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import REFUSED, complain
from phoenix_ga.cli.hub_clients import clients_text
from phoenix_ga.cli.output import duration, escape, titled_table
from phoenix_ga.cli.running import run
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest
    from phoenix_ga.client.probe import GuestState

# Seconds that the hub has to tell who uses the guests.
_HUB_TIMEOUT = 2.0


@verb(
    short_help="List the guests of this host.",
    epilog="""\b
The guests of libvirt, Proxmox VE and other running QEMU processes are found automatically. More
can be configured in ~/.config/phoenix/config.toml and /etc/phoenix/config.toml:
  [guests]
  web1 = "unix:/run/web1.sock"
  [groups]
  front = ["web*", "cache"]
  [hosts]
  vh1 = "root@vh1.example.com"
The guests of other hosts are called HOST/NAME, and are reached through ssh(1). They are shown host
by host, as the hosts answer; one that does not answer within 10 seconds is shown as HOST/*.

\b
State of a guest:
  answers       the agent answers; its dialect and version are shown
  frozen        the agent answers, and has frozen the filesystems; see phoenixctl thaw
  silent        no answer within 3 seconds, or --timeout
  busy          another client has the port, such as libvirt
  gone          nothing listens on the endpoint
  not-an-agent  the answer is not that of an agent

If a hub is running, the last column tells which clients use the guest through it, and for how long.

\b
The exit status is 1 if one of the given guests does not answer or, without GUEST, if no guest
is found.

\b
Example:
  $ phoenixctl guests
""",
)
@click.argument("words", metavar="[GUEST]...", nargs=-1, shell_complete=complete_guest)
@click.option("-q", "--quiet", is_flag=True, help="Print the names only, without contacting the guests.")
@click.option("--local", is_flag=True, help="Leave out the guests of other hosts.")
@click.pass_obj
def command(options: Options, words: tuple[str, ...], quiet: bool, local: bool) -> int:
    """List the guests of this host and their state."""
    from phoenix_ga.client.probe import ANSWERS

    hosts = _hosts(words, local)
    if quiet:
        return REFUSED if sum(_show_names(options, guests) for guests in hosts) == 0 else 0
    # Before this program is a client itself.
    offers = _hub_offers()
    count = answered = 0
    for guests in hosts:
        states = run(_ask(guests, options.timeout)) if guests else []
        if options.json:
            for state in states:
                options.show(_as_json(state, offers), "")
        elif states:
            options.show(None, "\n" * bool(count) + _as_text(states, offers))
        count += len(states)
        answered += sum(state.state == ANSWERS for state in states)
    if not (count or options.json):
        complain("no guests found; see phoenixctl guests --help")
    failed = answered < count if words else not count
    return REFUSED if failed else 0


def _hosts(words: tuple[str, ...], local: bool) -> Iterable[list[KnownGuest]]:
    """Return the guests to show, in groups that are shown one after the other."""
    from phoenix_ga.client.discovery import guests_by_host, known_guests, select_guests

    if words:
        return [select_guests(",".join(words))]
    return [known_guests()] if local else guests_by_host()


def _show_names(options: Options, guests: list[KnownGuest]) -> int:
    """Print the names of guests, and return how many there are."""
    for guest in guests:
        options.show(_place(guest), escape(guest.name))
    return len(guests)


async def _ask(known: list[KnownGuest], timeout: float | None) -> list[GuestState]:
    from phoenix_ga.client.probe import TIMEOUT, probe_guests

    states = [state async for state in probe_guests(known, TIMEOUT if timeout is None else timeout)]
    return sorted(states, key=lambda state: state.guest.name)


def _hub_offers() -> dict[str, Any] | None:
    """Return what the hub tells of each guest that it offers, by name; None if there is no hub, or it is silent."""
    from phoenix_ga.client.errors import PhoenixError
    from phoenix_ga.client.hub_control import ask_hub

    try:
        return {guest["name"]: guest for guest in ask_hub("status", timeout=_HUB_TIMEOUT)}
    except PhoenixError:
        return None


def _place(guest: KnownGuest) -> dict[str, Any]:
    return {"name": guest.name, "aliases": list(guest.aliases), "endpoint": guest.endpoint, "source": guest.source}


def _as_json(state: GuestState, offers: dict[str, Any] | None) -> dict[str, Any]:
    offer = (offers or {}).get(state.guest.name)
    return {
        **_place(state.guest),
        "state": state.state,
        "detail": state.detail or None,
        "dialect": state.dialect or None,
        "version": state.version or None,
        "system": state.system or None,
        "uptime": state.uptime,
        "frozen": state.frozen,
        "hub": None if offer is None else {name: offer[name] for name in ("state", "clients")},
    }


def _as_text(states: list[GuestState], offers: dict[str, Any] | None) -> str:
    rows = [("name", "state", "agent", "system", "up for", "found by", *([] if offers is None else ["used by"]))]
    for state in states:
        agent = f"{state.dialect} {state.version}".strip() or "-"
        uptime = "-" if state.uptime is None else duration(state.uptime)
        guest = state.guest
        shown = "frozen" if state.frozen else state.state
        clients = [] if offers is None else [clients_text(offers.get(guest.name, {}).get("clients", ()))]
        rows.append((guest.name, shown, agent, state.system or "-", uptime, guest.source, *clients))
    return titled_table(rows[0], rows[1:], "")
