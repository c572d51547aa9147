"""One verb on several guests at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import complain, current_guest
from phoenix_ga.cli.guest_printer import GuestPrinter, SharedOutput
from phoenix_ga.cli.running import run
from phoenix_ga.cli.summary import Outcome, Summary, outcome_of

if TYPE_CHECKING:
    from phoenix_ga.client.discovery import KnownGuest

Work = Callable[["KnownGuest", GuestPrinter], Awaitable[Outcome]]

# What this process has open besides its guests.
_DESCRIPTORS: Final = 64


def fan_out(options: Options, guests: Sequence[KnownGuest], work: Work) -> int:
    """Do `work` with each guest, `parallel` at once, and sum up on stderr; return the highest status.

    Ctrl-C cancels what is under way, and sums up as well; raises KeyboardInterrupt then. Raises
    BrokenPipeError where nobody reads stdout any more.
    """
    summary = Summary(len(guests))
    try:
        run(_on_all(guests, work, _with_room(options.parallel), SharedOutput(options.json), summary))
    except BrokenPipeError:
        raise
    except BaseException:
        complain(str(summary))
        raise
    complain(str(summary))
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
        # Once each: gather would come back with the first that is cancelled, while others clean up.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _on_one(guest: KnownGuest, work: Work, printer: GuestPrinter, summary: Summary) -> None:
    import asyncio

    try:
        summary.add(guest.name, await work(guest, printer))
    except asyncio.CancelledError:
        summary.add(guest.name, Outcome(what="interrupted"))
        raise
    except Exception as error:
        from phoenix_ga.client import GuestError

        # A guest may refuse with the number of this error as well.
        if isinstance(error, BrokenPipeError) and not isinstance(error, GuestError):
            raise
        summary.add(guest.name, outcome_of(error))
        await printer.error(error)


def _with_room(parallel: int) -> int:
    """Return how many guests may be connected to at once, so that descriptors are left for all else."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and parallel + _DESCRIPTORS > soft:
        most = hard if hard != resource.RLIM_INFINITY else parallel + _DESCRIPTORS
        soft = min(parallel + _DESCRIPTORS, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(parallel, soft - _DESCRIPTORS))
    return parallel
