"""`phoenixctl help`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.topics import JOBS, NOTES
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    names = {
        "topics",
        *(job.name for job in JOBS),
        *(note.name for note in NOTES),
        *_group(context).list_commands(context),
    }
    return [CompletionItem(name) for name in sorted(names) if name.startswith(text)]


@verb(
    short_help="Explain a verb or a topic.",
    epilog="""\b
Examples:
  $ phoenixctl help topics
  $ phoenixctl help files
  $ phoenixctl help cp
""",
)
@click.argument("name", required=False, metavar="[VERB|TOPIC|topics]", shell_complete=_complete)
@click.pass_context
def command(context: click.Context, name: str | None) -> None:
    """Explain a verb or a topic; list the topics."""
    group = _group(context)
    above = context.find_root()
    formatter = context.make_formatter()
    if name is None:
        click.echo(group.get_help(above))
        return
    if name == "topics":
        _list_topics(formatter)
    elif any(name == job.name for job in JOBS):
        _explain_job(formatter, name, group, context)
    elif any(name == note.name for note in NOTES):
        formatter.write_text(next(note.text for note in NOTES if note.name == name))
    else:
        found = group.get_command(context, name)
        if found is None:
            raise click.UsageError(f"There is neither a verb nor a topic {name!r}; see phoenixctl help topics.")
        inner = click.Context(found, parent=above, info_name=name)
        click.echo(found.get_help(inner))
        return
    click.echo(formatter.getvalue().rstrip("\n"))


def _group(context: click.Context) -> click.Group:
    group = context.find_root().command
    assert isinstance(group, click.Group)
    return group


def _list_topics(formatter: click.HelpFormatter) -> None:
    with formatter.section("Jobs"):
        formatter.write_dl([(job.name, job.title) for job in JOBS])
    with formatter.section("For all verbs"):
        formatter.write_dl([(note.name, note.title) for note in NOTES])
    formatter.write_paragraph()
    formatter.write_text("phoenixctl help TOPIC explains one of them, and phoenixctl help VERB a verb.")


def _explain_job(formatter: click.HelpFormatter, name: str, group: click.Group, context: click.Context) -> None:
    """Write the verbs of a job, each with the first paragraph of its help."""
    job = next(job for job in JOBS if job.name == name)
    formatter.write_heading(job.title)
    with formatter.indentation():
        formatter.write_text(job.text)
    for verb_name in job.verbs:
        found = group.get_command(context, verb_name)
        if found is not None:
            formatter.write_paragraph()
            pieces = found.collect_usage_pieces(click.Context(found, info_name=verb_name))
            with formatter.indentation():
                formatter.write_text(f"{verb_name} {' '.join(pieces[1:])}")
                with formatter.indentation():
                    formatter.write_text((found.help or "").split("\n\n")[0])
