"""`phoenixctl doctor`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import REFUSED, explain
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.running import run
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest
    from phoenix_ga.client.models import Check

_OLD_AGENT = "the agent of this guest has no self-test: it is older than this phoenixctl"


@verb(
    short_help="Find out what does not work, and why.",
    epilog="""\b
On this host: QEMU, KVM, vsock, and which guests are found. With GUEST, instead: its socket, who
may use it, which other client has the port, and the agent's self-test, which checks ports, rights,
parking, filesystems, hooks, users, clock, SELinux and sandbox in the guest.

\b
Each line begins with `ok`, `warning` (something that not everybody needs) or `failed`. The exit
status is 1 if something failed.

\b
Examples:
  $ phoenixctl doctor
  $ phoenixctl doctor web1
""",
)
@click.argument("guest", required=False, shell_complete=complete_guest)
@click.pass_obj
def command(options: Options, guest: str | None) -> int:
    """Check this host, or the way to a guest and the guest itself."""
    from phoenix_ga.client.discovery import select_guests
    from phoenix_ga.client.host_check import FAILED, check_guest, check_host

    if guest is None:
        checks = [("host", check) for check in check_host()]
    else:
        checks = []
        selected = select_guests(guest)
        for known in selected:
            of = f" {known.name}" if len(selected) > 1 else ""
            found = check_guest(known)
            checks += [(f"host{of}", check) for check in found]
            if all(check.state != FAILED for check in found):
                checks += [(f"guest{of}", check) for check in run(_ask(options, known))]
    for side, check in checks:
        text = f"{check.state:8} {side}: {check.name}: {check.text}"
        options.show({"side": side, "name": check.name, "state": check.state, "text": check.text}, escape(text))
    return REFUSED if any(check.state == FAILED for _, check in checks) else 0


async def _ask(options: Options, guest: KnownGuest) -> tuple[Check, ...]:
    """Return the guest's half."""
    from phoenix_ga.client import CommandError, PhoenixError
    from phoenix_ga.client.host_check import FAILED, OK
    from phoenix_ga.client.models import Check

    try:
        async with options.connect_to(guest) as connected:
            version = await connected.ping()
            answer = Check("agent", OK, f"phoenix-ga {version} answers")
            try:
                return (answer, *await connected.self_test())
            except CommandError as error:
                text = _OLD_AGENT if error.code == -1 else error.text
                return (answer, Check("self-test", FAILED, text))
    except PhoenixError as error:
        return (Check("agent", FAILED, explain(error)[1]),)
