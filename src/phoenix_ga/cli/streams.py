"""Reading streams of a guest within its time limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from phoenix_ga.client import GuestTimeoutError, PhoenixError

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, GuestStream


async def read_in_time(guest: Guest, stream: GuestStream) -> bytes:
    """Return the next data of a stream, empty at its end. Raises GuestTimeoutError if none comes in time."""
    try:
        return await asyncio.wait_for(stream.read_chunk(), guest.timeout)
    except asyncio.TimeoutError as error:
        if isinstance(error, PhoenixError):
            raise
        raise GuestTimeoutError(f"no data for {guest.timeout:g} s", stream.request) from None
