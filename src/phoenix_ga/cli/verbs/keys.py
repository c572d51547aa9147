"""`phoenixctl keys`"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.output import escape
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_ACTIONS = ("list", "add", "remove")
_KEYS_MAX = 1024 * 1024


@verb(
    short_help="Show and change the SSH keys that may log in as a user.",
    epilog="""\b
KEYFILE has public keys, one a line, as ssh-keygen(1) writes them; `-` is stdin. They are added
to, or removed from, ~/.ssh/authorized_keys of the user. A key that is there already is not added
twice.

\b
Examples:
  $ phoenixctl keys web1 root
  $ phoenixctl keys web1 root add ~/.ssh/id_ed25519.pub
  $ phoenixctl keys web1 root remove old.pub
""",
)
@GUEST
@click.argument("user")
@click.argument("action", type=click.Choice(_ACTIONS), default="list", metavar="[list|add|remove]")
@click.argument("keyfile", type=click.File("r"), required=False)
@click.pass_obj
def command(options: Options, guest: str, user: str, action: str, keyfile: IO[str] | None) -> int:
    """Show and change the SSH keys that may log in as a user of the guest."""
    if (keyfile is None) != (action == "list"):
        raise click.UsageError("list takes no KEYFILE." if action == "list" else f"{action} needs a KEYFILE.")
    keys: list[str] = [] if keyfile is None else _read_keys(keyfile.read(_KEYS_MAX))

    async def work(connected: Guest) -> list[str]:
        if action == "add":
            await connected.qga.ssh_add_authorized_keys(user, keys)
        elif action == "remove":
            await connected.qga.ssh_remove_authorized_keys(user, keys)
        else:
            return (await connected.qga.ssh_get_authorized_keys(user))["keys"]
        return []

    def describe(found: list[str]) -> tuple[object, str]:
        return (found if action == "list" else True), "\n".join(map(escape, found))

    return each_guest(options, guest, work, describe)


def _read_keys(text: str) -> list[str]:
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise click.UsageError("The file has no keys.")
    if any("PRIVATE KEY" in key for key in keys):
        raise click.UsageError("This is a private key; give the file that ends in .pub.")
    return keys
