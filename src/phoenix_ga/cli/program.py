"""phoenixctl: the entry of the program, its global options, and what errors become."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from phoenix_ga import __version__
from phoenix_ga.cli import verbs
from phoenix_ga.cli.context import COMPLETION_VARIABLE, PARALLEL, Options
from phoenix_ga.cli.errors import USAGE, complain, explain

INTERRUPTED = 130


class VerbGroup(click.Group):
    """The verbs, a module of `verbs/` each, loaded when named; errors are one line and end in an exit status."""

    def list_commands(self, context: click.Context) -> list[str]:
        files = os.listdir(os.path.dirname(verbs.__file__))
        names = (name.removesuffix(".py") for name in files if name.endswith(".py") and name[0] != "_")
        return sorted(name.replace("_", "-") for name in names)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        module = importlib.import_module(f"{verbs.__name__}.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.name = name
        return command

    def load_all(self) -> dict[str, click.Command]:
        """Return all verbs by name."""
        context = click.Context(self)
        loaded = ((name, self.get_command(context, name)) for name in self.list_commands(context))
        return {name: command for name, command in loaded if command is not None}

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        if COMPLETION_VARIABLE in os.environ:
            from phoenix_ga.cli import bash_completion

            bash_completion.register()
        extra.update(standalone_mode=False, prog_name="phoenixctl")
        for stream in (sys.stdout, sys.stderr):
            # A name that the locale cannot show is still shown somehow.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(*args, **extra)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else "phoenixctl"
            # Of choices, click puts each on a line of its own.
            complain(f"{' '.join(error.format_message().split())} Try '{where} --help'.")
            sys.exit(USAGE)
        except click.ClickException as error:
            complain(error.format_message())
            sys.exit(max(error.exit_code, USAGE))
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                _leave_quietly()
            status = _report(error)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        from phoenix_ga.client import GuestError

        try:
            return super().invoke(context)
        except GuestError as error:
            # A guest may refuse with EPIPE, which click takes for its own output's.
            return _report(error)


def _report(error: Exception) -> int:
    status, text = explain(error)
    complain(text)
    return status


def _leave_quietly() -> NoReturn:
    """End as a program does whose reader has gone, without a complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + 13)


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
GUEST says which guest, or where it is:
  NAME              one of those that `phoenixctl guests` lists
  unix:PATH         the Unix socket of its port
  PATH              the same; it must have a slash in it
  vsock:CID[:PORT]  an agent that listens on vsock; on port 8383 where none is given
  pty:PATH          the terminal of its port
  tcp:HOST:PORT     only with --allow-tcp

\b
Most verbs take several guests at once, and put the name before each line:
  A,B         a list
  'web*'      all whose names match; in quotes, or the shell takes it for files
  @GROUP      a group of the configuration

\b
Exit status:
  0    done
  1    the guest refused, a local file could not be read or written, or some of a directory is missing
  2    wrong usage
  124  no answer in time
  125  no connection, the link was lost, or the guest broke the protocol
  126, 127, 128 and more, or any: that of the program, with exec and shell
  130  interrupted by Ctrl-C
Of several guests it is the highest.

\b
Example:
  $ phoenixctl ping -c 1 unix:/run/web1.sock
""",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait so long for each answer."
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=PARALLEL,
    show_default=True,
    metavar="N",
    help="Talk to so many guests at once, where GUEST is several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON, one value a line.")
@click.option("-v", "--verbose", is_flag=True, help="Show on stderr what goes over the wire.")
@click.option("--allow-tcp", is_flag=True, help="Take tcp:HOST:PORT, which nothing protects on its way.")
@click.version_option(__version__, prog_name="phoenixctl", message="%(prog)s %(version)s")
@click.pass_context
def program(
    context: click.Context, timeout: float | None, parallel: int, as_json: bool, verbose: bool, allow_tcp: bool
) -> None:
    """Talk to the Phoenix guest agent in virtual machines on this host."""
    context.obj = Options(timeout, as_json, verbose, parallel, allow_tcp)
