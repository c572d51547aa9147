"""Running a verb on several guests in parallel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import complain, current_guest
from phoenix_ga.cli.guest_printer import GuestPrinter, SharedOutput
from phoenix_ga.cli.output import to_json
from phoenix_ga.cli.running import run
from phoenix_ga.cli.summary import Outcome, Summary, outcome_of

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest

Work = Callable[["KnownGuest", GuestPrinter], Awaitable[Outcome]]

# File descriptors reserved for everything but connections.
_DESCRIPTORS: Final = 64


def fan_out(options: Options, guests: Sequence[KnownGuest], work: Work) -> int:
    """Run `work` on each guest, `options.parallel` at once, and print a summary on stderr.

    A signal cancels what is running; the summary is printed then too.

    Returns:
        The highest exit status.

    Raises:
        BrokenPipeError: If stdout was closed by its reader.
    """
    summary = Summary(len(guests))

    def sum_up() -> None:
        if options.json:
            click.echo(to_json({"summary": summary.as_json()}), err=True)
        else:
            complain(str(summary))

    try:
        run(_on_all(guests, work, raise_file_limit(options.parallel), SharedOutput(options.json), summary))
    except BrokenPipeError:
        raise
    except BaseException:
        sum_up()
        raise
    sum_up()
    return summary.status


async def _on_all(
    guests: Sequence[KnownGuest], work: Work, parallel: int, output: SharedOutput, summary: Summary
) -> None:
    import asyncio

    waiting = iter(guests)

    async def serve() -> None:
        for guest in waiting:
            current_guest.set(guest.name)
            await _on_one(guest, work, GuestPrinter(output, guest.name), summary)

    tasks = [asyncio.ensure_future(serve()) for _ in range(min(parallel, len(guests)))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        # Not gather: it returns when the first task is cancelled, while others still clean up.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            # Several may have failed by the same cause, of which one is raised.
            if not task.cancelled():
                task.exception()


async def _on_one(guest: KnownGuest, work: Work, printer: GuestPrinter, summary: Summary) -> None:
    import asyncio

    from phoenix_ga.client import PhoenixError

    try:
        summary.add(guest.name, await work(guest, printer))
    except asyncio.CancelledError:
        summary.add(guest.name, Outcome(phrase="interrupted"))
        raise
    except Exception as error:
        # A guest may refuse with EPIPE; that is not our stdout.
        if isinstance(error, BrokenPipeError) and not isinstance(error, PhoenixError):
            raise
        summary.add(guest.name, outcome_of(error))
        await printer.error(error)


def raise_file_limit(parallel: int) -> int:
    """Raise the limit of open files if necessary; return how many connections it allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and parallel + _DESCRIPTORS > soft:
        most = hard if hard != resource.RLIM_INFINITY else parallel + _DESCRIPTORS
        soft = min(parallel + _DESCRIPTORS, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(parallel, soft - _DESCRIPTORS))
    return parallel
