"""The click classes of the verbs: they take the global options besides their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from phoenix_ga.cli.context import PARALLEL
from phoenix_ga.cli.errors import json_errors

_HOST_COMMAND = f"{__name__}.host_command"


class GlobalOption(click.Option):
    """An option of phoenixctl itself, which can also follow the verb."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(names, expose_value=False, callback=_apply, **attributes)


def _apply(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        context.obj = replace(context.obj, **{str(option.name): value})
        if option.name == "json":
            json_errors.set(True)


def global_options() -> list[click.Parameter]:
    """Return new instances of the global options."""
    return [
        GlobalOption(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Time limit to connect (10 s) and for each answer (30 s).",
        ),
        GlobalOption(
            "--parallel",
            type=click.IntRange(min=1),
            metavar="N",
            help=f"Maximum number of guests in parallel ({PARALLEL}).",
        ),
        GlobalOption("--json", is_flag=True, help="Print results and errors as JSON, one value a line."),
        GlobalOption("-v", "--verbose", is_flag=True, help="Print the messages on the wire to stderr."),
        GlobalOption("--direct", is_flag=True, help="Use the port of the guest itself, even if a hub offers it."),
        GlobalOption("--allow-tcp", is_flag=True, help="Allow tcp:HOST:PORT, which is not encrypted."),
    ]


class Verb(click.Command):
    """A verb of phoenixctl."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += global_options()

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if context.resilient_parsing and args and args[-1] in self._with_value():
            args = args[:-1]  # Its value is being completed, which may depend on GUEST.
        return super().parse_args(context, args)

    def _with_value(self) -> set[str]:
        options = [option for option in self.params if isinstance(option, click.Option) and not option.is_flag]
        return {name for option in options for name in option.opts}

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        records = [
            parameter.get_help_record(context)
            for parameter in self.get_params(context)
            if isinstance(parameter, click.Option) and not isinstance(parameter, GlobalOption)
        ]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        formatter.write_paragraph()
        formatter.write_text("GUEST and global options such as --json: see phoenixctl --help.")


class ProgramVerb(Verb):
    """A verb that ends in a program of the guest: the first word after GUEST ends our options."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        start = self._program_start(args)
        return super().parse_args(context, args if start is None else [*args[:start], "--", *args[start:]])

    def _program_start(self, args: list[str]) -> int | None:
        """Return the index of the program; None if there is none, or `--` marks it."""
        with_value = self._with_value()
        index = words = 0
        while index < len(args):
            word = args[index]
            if word == "--":
                return None
            if word.startswith("--"):
                index += word in with_value
            elif word.startswith("-") and len(word) > 1:
                # In -itu USER, the value follows the last letter; in -uUSER it is part of the word.
                taking = next((place for place, letter in enumerate(word) if f"-{letter}" in with_value), None)
                index += taking == len(word) - 1
            else:
                words += 1
                if words > 1:
                    return index
            index += 1
        return None


class CommandVerb(Verb):
    """A verb whose words after `--` are a command of this host; the callback finds them by `host_command`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        context.meta[_HOST_COMMAND] = args[end + 1 :]
        if not context.resilient_parsing and not args[end + 1 :] and not {"-h", "--help"} & set(args):
            raise click.UsageError("A command is missing: put it after --, with spaces around that.", context)
        return super().parse_args(context, args[:end])


def host_command() -> list[str]:
    """Return the words of the command of this host."""
    words: list[str] = click.get_current_context().meta[_HOST_COMMAND]
    return words


def verb(cls: type[Verb] = Verb, **attributes: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Decorate the function of a verb; takes the arguments of `click.command`."""
    return click.command(cls=cls, **attributes)
