"""`phoenixctl deploy`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.agent_archive import read_agent
from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.progress import ProgressDisplay
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import select_one
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest

# Seconds in which the new agent must answer; a guest without KVM is slow.
_ARRIVAL_TIME = 150.0
_TIMEOUT = 30.0
# Seconds for an answer while qemu-ga is stopped, which takes some requests with it.
_PATIENCE = 3.0


@verb(
    short_help="Install the agent in a guest that has a stock qemu-ga.",
    epilog="""\b
GUEST is the port of qemu-ga. The agent is copied through it, takes the place of qemu-ga and
serves its port. The guest needs no network. If qemu-ga may not write files or run programs, as
in RHEL by default, or if libvirt has the port, use --ssh.

\b
If the agent cannot be installed, or this host does not reach it within three minutes, the
guest is as it was.

\b
Examples:
  $ phoenixctl deploy /run/web1-qga.sock
  $ phoenixctl deploy --profile backup /run/web1-qga.sock
  $ phoenixctl deploy --ssh root@web1
""",
)
@click.argument("guest", metavar="[GUEST]", required=False, shell_complete=complete_guest)
@click.option("--ssh", metavar="[USER@]HOST", help="Install over ssh, beside qemu-ga, instead of through a port.")
@click.option(
    "--profile",
    type=click.Choice(["backup", "probes", "read-only"]),
    help="Allow the host only what this needs, in a sandbox.",
)
@click.option("--agent", metavar="FILE", type=click.Path(), help="The phoenix-ga.pyz to install.")
@click.pass_obj
def command(options: Options, guest: str | None, ssh: str | None, profile: str | None, agent: str | None) -> int:
    """Install the agent in a guest that does not have it yet."""
    if (guest is None) == (ssh is None):
        raise click.UsageError("Name either GUEST or --ssh HOST.")
    archive = read_agent(agent)
    words = ["--profile", profile] if profile else []
    if ssh is not None:
        from phoenix_ga.cli.deploying import deploy_by_ssh

        run(deploy_by_ssh(ssh, archive, words))
        options.show({"guest": ssh, "deployed": True}, f"{ssh}: the agent is installed")
        return 0
    assert guest is not None
    known = select_one(guest)
    version = run(_deploy(options, known, archive, words))
    options.show(
        {"guest": known.name, "deployed": True, "version": version or None},
        f"the agent {version} is installed, and answers" if version else "the agent is installed",
    )
    return 0


async def _deploy(options: Options, known: KnownGuest, archive: bytes, words: list[str]) -> str:
    """Install the agent and return its version; empty if its policy hides it."""
    from phoenix_ga.cli.deploying import deploy_by_qemu_ga
    from phoenix_ga.client.resolve import open_endpoint
    from phoenix_ga.client.stock_agent import StockAgent

    transport = await open_endpoint(known, options.allow_tcp, direct=True)
    try:
        with ProgressDisplay(options) as display, display.part("phoenix-ga.pyz") as progress:
            stock = StockAgent(transport, options.timeout or _TIMEOUT)
            await deploy_by_qemu_ga(stock, archive, ["--replace-qemu-ga", *words], bool(words), progress)
    finally:
        await transport.close()
    return await _confirm(options, known, bool(words))


async def _confirm(options: Options, known: KnownGuest, restricted: bool) -> str:
    """Wait for the new agent, and tell the guest that it was reached. Raises PhoenixError."""
    import asyncio

    from phoenix_ga.cli.deploying import CONFIRMED, DeploymentError
    from phoenix_ga.client import CommandError, PhoenixError
    from phoenix_ga.client.probe import PHOENIX, probe

    loop = asyncio.get_running_loop()
    deadline = loop.time() + (options.timeout or _ARRIVAL_TIME)
    while loop.time() < deadline:
        state = await probe(known)
        try:
            if state.dialect != PHOENIX:
                await _ask_predecessor(options, known, state.dialect)
            elif restricted:
                return state.version
            else:
                async with options.connect_to(known) as guest:
                    await guest.run(["touch", CONFIRMED], check=True)
                    return await guest.ping()
        except CommandError:
            # qemu-ga could run programs: this is the new agent, and its profile does not allow that.
            if restricted:
                return ""
            if state.dialect == PHOENIX:
                raise
        except PhoenixError:
            pass
        await asyncio.sleep(0.2)
    raise DeploymentError("the new agent does not answer; the guest goes back to qemu-ga within three minutes")


async def _ask_predecessor(options: Options, known: KnownGuest, dialect: str) -> None:
    """If qemu-ga still answers, ask whether the installation has failed. Raises PhoenixError."""
    from phoenix_ga.cli.deploying import check_not_failed
    from phoenix_ga.client.resolve import open_endpoint
    from phoenix_ga.client.stock_agent import StockAgent

    if not dialect:
        return
    transport = await open_endpoint(known, options.allow_tcp, direct=True)
    try:
        # It may be stopped at any moment.
        await check_not_failed(StockAgent(transport, _PATIENCE))
    finally:
        await transport.close()
