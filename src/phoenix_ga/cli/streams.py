"""Waiting for streams of a guest, and no longer than they can last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from phoenix_ga.client import GuestTimeoutError, PhoenixError

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, GuestStream

Result = TypeVar("Result")


async def read_in_time(guest: Guest, stream: GuestStream) -> bytes:
    """Return the next data of a stream, empty at its end. Raises GuestTimeoutError if none comes in time."""
    try:
        return await asyncio.wait_for(stream.read_chunk(), guest.timeout)
    except asyncio.TimeoutError as error:
        if isinstance(error, PhoenixError):
            raise
        raise GuestTimeoutError(f"no data for {guest.timeout:g} s", stream.request) from None


async def unless_failed(failure: Awaitable[None], work: Awaitable[Result]) -> Result:
    """Return the result of `work`, or raise what `failure` raises before."""
    working, failing = asyncio.ensure_future(work), asyncio.ensure_future(failure)
    try:
        await asyncio.wait((working, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        return await working
    finally:
        working.cancel()
        failing.cancel()
        await asyncio.gather(working, failing, return_exceptions=True)
