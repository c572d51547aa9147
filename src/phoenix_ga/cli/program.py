"""phoenixctl as a click program: its verbs, its global options, and its exit status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from phoenix_ga import __version__
from phoenix_ga.cli import verbs
from phoenix_ga.cli.context import COMPLETION_VARIABLE, Options
from phoenix_ga.cli.errors import USAGE, complain, json_errors, report
from phoenix_ga.cli.topics import EXAMPLES, JOBS, MORE, NOTES
from phoenix_ga.cli.verb import global_options

INTERRUPTED = 130


class VerbGroup(click.Group):
    """The verbs: each is a module of `verbs/` with a click command called `command`, loaded when it is named."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **{"no_args_is_help": False, "subcommand_metavar": "VERB [ARG]...", **attributes})
        self.params[:0] = global_options()

    def list_commands(self, context: click.Context) -> list[str]:
        files = os.listdir(os.path.dirname(verbs.__file__))
        names = (name.removesuffix(".py") for name in files if name.endswith(".py") and name[0] != "_")
        return sorted(name.replace("_", "-") for name in names)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        # Like click, but by jobs, and with our word: "commands" are those of the agent.
        loaded = self.load_all()
        for job in JOBS:
            own = {name: loaded.pop(name) for name in job.verbs if name in loaded}
            _write_verbs(formatter, job.title, job.text, own)
        if loaded:
            _write_verbs(formatter, "More", "", loaded)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        # The notes would hide the verbs; the man page has them all.
        formatter.write_paragraph()
        formatter.write_text(EXAMPLES)
        formatter.write_paragraph()
        formatter.write_text(MORE)

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

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        return super().make_context(*args, **{"obj": Options(), **extra})

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        # click does this too, but differently in each version.
        if not args and not context.resilient_parsing:
            click.echo(context.get_help(), err=True, color=context.color)
            context.exit(USAGE)
        return super().parse_args(context, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        if COMPLETION_VARIABLE in os.environ:
            from phoenix_ga.cli import bash_completion

            bash_completion.register()
        json_errors.set(False)
        extra.update(standalone_mode=False, prog_name="phoenixctl")
        for stream in (sys.stdout, sys.stderr):
            # Escape what the locale cannot encode.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(*args, **extra)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx is not None else "phoenixctl"
            # click puts each of several choices on a line of its own.
            complain(f"{' '.join(error.format_message().split())} Try '{command} --help'.", USAGE)
            sys.exit(USAGE)
        except click.ClickException as error:
            complain(error.format_message(), USAGE)
            sys.exit(USAGE)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                _exit_after_broken_pipe()
            status = report(error)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        from phoenix_ga.client import PhoenixError

        try:
            return super().invoke(context)
        except PhoenixError as error:
            # A guest may refuse with EPIPE, which click would take for a closed stdout.
            return report(error)


def _write_verbs(formatter: click.HelpFormatter, title: str, text: str, loaded: dict[str, click.Command]) -> None:
    with formatter.section(title):
        if text:
            formatter.write_text(text)
        formatter.write_dl([(name, verb.get_short_help_str(80)) for name, verb in loaded.items()])


def _exit_after_broken_pipe() -> NoReturn:
    """Exit as a program that SIGPIPE ended, without a complaint when Python flushes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + 13)


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\n".join((*(note.text for note in NOTES), EXAMPLES)),
)
@click.version_option(__version__, prog_name="phoenixctl", message="%(prog)s %(version)s")
def program() -> None:
    """Control virtual machines through the Phoenix guest agent."""
