"""Keeping guests frozen while something else is done, and telling whether they were frozen throughout.

The proof is the generation: the agent thaws a generation only if it is frozen at that moment and has been since the
freeze was answered. No answer, or any other answer, means that the freeze did not hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

from phoenix_ga.client import timeouts
from phoenix_ga.client.errors import CommandError, FreezeNotHeldError, PhoenixError
from phoenix_ga.client.models import Freeze
from phoenix_ga.client.opening import opens

if TYPE_CHECKING:
    from typing_extensions import Self

    from phoenix_ga.client.guest import Guest

#: Called with the name of a guest and what it does at the moment, such as `write-back`, while it is being frozen.
FreezeProgress = Callable[[str, str], None]

# Freezing takes longer than other calls, because of hooks and dirty data.
_FREEZE_FACTOR: Final = 4
# A thaw is tried for so many timeouts of the guest, or seconds if that has none.
_THAW_FACTOR: Final = 2
_THAW_TIME: Final = 60.0
_RETRY_TIME: Final = 0.5
_POLL_TIME: Final = 0.5
# Retried: something is being frozen or thawed at the moment, or a filesystem could not be thawed.
_RETRIED: Final = (errno.EBUSY, errno.EIO, errno.EAGAIN)


class Frozen:
    """Guests that are frozen, all or none. Leaving the context thaws them."""

    def __init__(self, guests: Sequence[Guest], freezes: Sequence[Freeze]) -> None:
        self._guests = guests
        self._freezes = freezes
        self._blocked: dict[str, int] = {}

    @property
    def freezes(self) -> dict[str, Freeze]:
        """What is frozen, by the name of the guest."""
        return {guest.name: freeze for guest, freeze in zip(self._guests, self._freezes)}

    @property
    def blocked(self) -> dict[str, int]:
        """For how long writers were blocked, in milliseconds, by the name of the guest; known after the thaw."""
        return dict(self._blocked)

    @classmethod
    async def freeze(
        cls, guests: Sequence[Guest], auto_thaw: int, mountpoints: Sequence[str], progress: FreezeProgress | None
    ) -> Self:
        """Freeze guests. If one fails, or this is cancelled, thaw all and raise its error, with the guest's name."""
        tasks = [asyncio.ensure_future(_freeze(guest, auto_thaw, mountpoints, progress)) for guest in guests]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            return cls(guests, [task.result() for task in tasks])
        except BaseException:
            for task in tasks:
                task.cancel()
            await finish(asyncio.ensure_future(_undo(guests, tasks)))
            raise

    async def thaw(self) -> None:
        """Thaw all. Raises FreezeNotHeldError unless all were frozen until now."""
        results = await asyncio.gather(*map(_release, self._guests, self._freezes))
        reasons = {guest.name: text for guest, (text, _) in zip(self._guests, results) if text}
        self._blocked = {guest.name: blocked for guest, (_, blocked) in zip(self._guests, results) if blocked}
        if reasons:
            raise FreezeNotHeldError(reasons)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await finish(asyncio.ensure_future(self.thaw()))
        except FreezeNotHeldError:
            # The body failed anyway.
            if error is None:
                raise


@opens
async def freeze_group(
    guests: Sequence[Guest],
    *,
    auto_thaw: int = -1,
    mountpoints: Sequence[str] = (),
    progress: FreezeProgress | None = None,
) -> Frozen:
    """Freeze several guests, all or none, for the body of `async with`. See `Guest.frozen`."""
    return await Frozen.freeze(guests, auto_thaw, mountpoints, progress)


async def finish(task: asyncio.Future[None]) -> None:
    """Wait for a task to its end, even if this one is cancelled meanwhile, and raise what it raised."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    task.result()


async def _freeze(
    guest: Guest, auto_thaw: int, mountpoints: Sequence[str], progress: FreezeProgress | None
) -> Freeze:
    patient = guest.with_timeout(None if guest.timeout is None else guest.timeout * _FREEZE_FACTOR)
    impatient = guest.with_timeout(_POLL_TIME)
    call = asyncio.ensure_future(patient.filesystems.freeze(auto_thaw, mountpoints))
    try:
        shown = ""
        while not (await asyncio.wait({call}, timeout=_POLL_TIME))[0]:
            if progress is not None:
                with contextlib.suppress(PhoenixError):
                    stage = (await impatient.filesystems.status()).stage
                    if stage != shown:
                        progress(guest.name, stage)
                        shown = stage
        freeze = call.result()
    except PhoenixError as error:
        vars(error).setdefault("guest", guest.name)
        raise
    finally:
        call.cancel()
    reason = await _doubts(guest, freeze)
    if reason:
        if freeze.generation:
            await _release(guest, freeze)
        raise FreezeNotHeldError({guest.name: reason})
    return freeze


async def _doubts(guest: Guest, freeze: Freeze) -> str:
    """Return why a freeze that has just begun cannot be relied on, or an empty string."""
    if not freeze.generation:
        return "nothing can be frozen"
    foreign = [each.mountpoint for each in freeze.skipped if each.reason == "foreign"]
    if foreign:
        return f"another program has frozen {', '.join(foreign)}, and may thaw it at any time"
    status = await guest.filesystems.status()
    if not status.frozen or status.generation != freeze.generation:
        return "the agent said that it is frozen, and now says that it is not"
    return ""


async def _undo(guests: Sequence[Guest], tasks: Sequence[asyncio.Future[Freeze]]) -> None:
    """Thaw the guests that are, or may be, frozen."""
    await asyncio.wait(tasks)
    thaws = []
    for guest, task in zip(guests, tasks):
        if not task.cancelled() and isinstance(task.exception(), (CommandError, FreezeNotHeldError)):
            continue
        freeze = None if task.cancelled() or task.exception() else task.result()
        thaws.append(_release(guest, freeze))
    await asyncio.gather(*thaws)


async def _release(guest: Guest, freeze: Freeze | None) -> tuple[str, int]:
    """Thaw a guest.

    Args:
        freeze: None if it was not answered. Then a freeze in progress is cancelled.

    Returns:
        Why the freeze did not hold until now, or an empty string; and for how long writers were blocked, in
        milliseconds, 0 if that is unknown.
    """
    limit = _THAW_TIME if guest.timeout is None else guest.timeout * _THAW_FACTOR
    # A lost connection must not leave the guest frozen.
    guest._caller.reconnector.insist(limit)
    failure = "no answer"
    try:
        async with timeouts.timeout(limit):
            while True:
                try:
                    await guest.filesystems.thaw(freeze.generation if freeze is not None else "")
                    return await _verdict(guest, freeze)
                except CommandError as error:
                    if error.code not in _RETRIED:
                        return error.text, 0
                    failure = error.text
                except PhoenixError as error:
                    failure = error.text
                    if guest.closed:
                        break
                await asyncio.sleep(_RETRY_TIME)
    except asyncio.TimeoutError:
        pass
    return f"nobody can tell whether the freeze held, and the guest may still be frozen: {failure}", 0


async def _verdict(guest: Guest, freeze: Freeze | None) -> tuple[str, int]:
    """Return what `_release` does, after a thaw that succeeded."""
    status = await guest.filesystems.status()
    # Somebody else may have frozen again since.
    if freeze is None or status.generation != freeze.generation:
        return "", 0
    if status.frozen or status.ended != "released":
        return "the agent said that the freeze held until the thaw, and now says that it did not", 0
    return "", status.blocked
