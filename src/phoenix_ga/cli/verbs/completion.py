"""`phoenixctl completion`"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from phoenix_ga.cli import bash_completion
from phoenix_ga.cli.context import COMPLETION_VARIABLE
from phoenix_ga.cli.verb import verb


@verb(
    short_help="Print the completion script for a shell.",
    epilog="""\b
Add the line for your shell to ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
  eval "$(phoenixctl completion bash)"
  eval "$(phoenixctl completion zsh)"
  phoenixctl completion fish | source

\b
Files, users and interfaces of a guest are looked up in the guest, within one second. Names
with characters that are special to a shell, such as spaces, are never offered.

\b
Example:
  $ phoenixctl completion bash > phoenixctl.bash
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that completes verbs, options, guests and files of guests."""
    bash_completion.register()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "phoenixctl", COMPLETION_VARIABLE).source(), nl=False)
