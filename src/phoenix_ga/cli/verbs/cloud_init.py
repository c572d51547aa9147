"""`phoenixctl cloud-init`"""

from __future__ import annotations

import click

from phoenix_ga.cli.agent_archive import read_agent
from phoenix_ga.cli.boot_script import boot_hook
from phoenix_ga.cli.verb import verb


@verb(
    short_help="Print user data for cloud-init that installs the agent.",
    epilog="""\b
The text is a #cloud-boothook with the whole agent. To add it to other user data, make a
multi-part archive, for example with cloud-init devel make-mime. Some clouds limit user data
to 16 kB, which is too small: there, use an image that has the agent.

\b
Example:
  $ phoenixctl cloud-init > user-data
""",
)
@click.option("--replace-qemu-ga", is_flag=True, help="Take the place of qemu-ga.")
@click.option("--profile", type=click.Choice(["backup", "probes", "read-only"]), help="Restrict the host to this.")
@click.option("--agent", metavar="FILE", type=click.Path(), help="The phoenix-ga.pyz to install.")
def command(replace_qemu_ga: bool, profile: str | None, agent: str | None) -> None:
    """Print user data for cloud-init that installs the agent at the first boot."""
    words = ["--replace-qemu-ga"] * replace_qemu_ga + (["--profile", profile] if profile else [])
    click.echo(boot_hook(read_agent(agent), words), nl=False)
