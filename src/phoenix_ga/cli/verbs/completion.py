"""`phoenixctl completion`"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from phoenix_ga.cli.bash_completion import register
from phoenix_ga.cli.context import COMPLETION_VARIABLE


@click.command(
    short_help="Print what a shell needs for completion.",
    epilog="""\b
Put into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
  eval "$(phoenixctl completion bash)"
  eval "$(phoenixctl completion zsh)"
  phoenixctl completion fish | source

\b
For files of a guest, the guest is asked, for a second at the most. Names with characters that
mean something to a shell, such as spaces, are left out: a guest may not slip in a command.

\b
Example:
  $ phoenixctl completion bash > phoenixctl.bash
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes verbs, options, commands and files of guests."""
    register()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "phoenixctl", COMPLETION_VARIABLE).source(), nl=False)
