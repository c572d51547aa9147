"""Bulk work leaves the processors to short work while there is some.

However short the agent's own queues are: what keeps every processor of a small machine at work lets an answer
wait until one is free, which takes milliseconds. So while one answer follows another, transfers and digests work
in short pieces, and rest for longer than they worked.
"""

from __future__ import annotations

from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# How soon short work is followed by more, if it is, in seconds.
_MOMENT: Final = 0.02
# How long a worker rests for each second of work; and at most, whatever kept it from working.
_REST: Final = 2.0
_REST_MAX: Final = 0.005

_last = _until = 0.0


def hurry() -> None:
    """Short work was done; where that was twice in a moment, there may be more."""
    global _last, _until
    now = monotonic()
    if now - _last < _MOMENT:
        _until = now + _MOMENT
    _last = now


def in_a_hurry() -> bool:
    """Whether bulk work should give way now."""
    return monotonic() < _until


def rest(begun: float) -> None:
    """Rest from work that began at `begun`, by the monotonic clock, where it should give way. For workers."""
    now = monotonic()
    # Even no sleep at all lets others have the interpreter's lock.
    sleep(min((now - begun) * _REST, _REST_MAX) if now < _until else 0)
