"""Write the man page of phoenixctl from its declarations: `python -m tools.manual [--check]`.

click-man makes a page for each verb, and leaves out what stands behind the options: the examples.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from phoenix_ga.cli.program import program

TARGET = Path(__file__).parent.parent / "packaging" / "phoenixctl.1"

HEAD = """\
.\\" Written by `make docs` from the declarations in src/phoenix_ga/cli.
.TH PHOENIXCTL 1 "" "Phoenix guest agent" "User Commands"
.SH NAME
phoenixctl \\- talk to the Phoenix guest agent in virtual machines on this host
.SH SYNOPSIS
.B phoenixctl
.RI [ OPTION ]...
.I VERB
.RI [ ARGUMENT ]...
"""

TAIL = """\
.SH ENVIRONMENT
.TP
.B NO_COLOR
Set to anything, turns bold letters and colours off.
Output that does not go to a terminal has none.
.SH SEE ALSO
.BR phoenix\\-ga (8),
.BR socat (1),
.BR scp (1),
.BR ip (8)
"""

# What click has for a paragraph whose lines are to stay as they are.
_AS_IT_IS = "\b"


def render() -> str:
    """Return the page."""
    lines = [HEAD.rstrip("\n"), ".SH DESCRIPTION"]
    lines += _paragraphs(program.help or "")
    lines.append(".SH OPTIONS")
    lines += _options(program)
    lines.append(".SH VERBS")
    for name, command in program.load_all().items():
        lines += _verb(name, command)
    lines.append(".SH NOTES")
    lines += _paragraphs(program.epilog or "")
    return "\n".join(lines) + "\n" + TAIL


def _verb(name: str, command: click.Command) -> Iterator[str]:
    usage = command.collect_usage_pieces(click.Context(command, info_name=name))
    yield f".SS {_escaped(name)}"
    yield f".B phoenixctl {_escaped(name)}"
    yield from (f".I {_escaped(piece)}\\&" for piece in usage)
    yield ".PP"
    yield from _paragraphs(command.help or "")
    yield from _options(command)
    yield from _paragraphs(command.epilog or "")


def _options(command: click.Command) -> Iterator[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    for option in options:
        yield ".TP"
        yield _flags(option)
        yield from _text(_help(option))
    if command is program:
        # click makes that one itself, with the names of whichever context was there first.
        names = (f"\\fB{_escaped(name)}\\fR" for name in program.context_settings["help_option_names"])
        yield from (".TP", ", ".join(names), "Show this message and exit.")
    yield ".PP"


def _flags(option: click.Option) -> str:
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in option.opts)
    if option.is_flag or option.count:
        return names
    return f"{names} \\fI{_escaped(option.metavar or option.type.name.upper())}\\fR"


def _help(option: click.Option) -> str:
    text = option.help or ""
    return f"{text} Default: {option.default:g}." if option.show_default else text


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of a text in which blank lines part paragraphs."""
    first = True
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if not first:
            yield ".PP"
        first = False
        # Prose is as wide as the terminal all the same.
        if paragraph.lstrip(" ").startswith(_AS_IT_IS) and "\n " in paragraph:
            yield ".nf"
            yield from (_line(line) for line in paragraph.partition(_AS_IT_IS)[2].strip("\n").splitlines())
            yield ".fi"
        else:
            yield from _text(paragraph.replace(_AS_IT_IS, ""))
    yield ".PP"


def _text(text: str) -> Iterator[str]:
    """Yield a line for each sentence."""
    for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z])", " ".join(text.split())):
        yield _line(sentence)


def _line(text: str) -> str:
    text = _escaped(text)
    # A dot or a quote in the first place would be a command.
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _escaped(text: str) -> str:
    for character, name in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("^", "\\(ha"),
        ("~", "\\(ti"),
        ("`", "\\(ga"),
    ):
        text = text.replace(character, name)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="Write packaging/phoenixctl.1 from the declarations of the verbs.")
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    if parser.parse_args().check:
        return 0 if TARGET.read_text() == render() else 1
    TARGET.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
