"""`phoenixctl stdio`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.running import run
from phoenix_ga.cli.selection import select_one
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    import asyncio

    from phoenix_ga.client.transport import Transport


# Seconds without an answer after the end of stdin.
_LAST_ANSWERS: Final = 0.5


@verb(
    short_help="Connect stdin and stdout to the port of the guest.",
    epilog="""\b
The bytes are passed on as they are, in both directions, in the protocol of the port. phoenixctl
runs this on another host to reach its guests; see GUEST, ssh: and exec:.

\b
Example:
  $ echo '{"execute": "ping"}' | phoenixctl stdio web1
""",
)
@GUEST
@click.pass_obj
def command(options: Options, guest: str) -> None:
    """Connect stdin and stdout to the port of the guest."""
    run(_relay(options, guest))


async def _relay(options: Options, guest: str) -> None:
    import asyncio

    from phoenix_ga.cli import stdio
    from phoenix_ga.client.resolve import open_endpoint

    transport = await open_endpoint(select_one(guest), options.allow_tcp, options.direct)

    async def send() -> None:
        source = stdio.Input()
        while data := await source.read():
            await transport.write(data)

    sending = asyncio.ensure_future(send())
    try:
        await _receive(transport, sending)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await transport.close()


async def _receive(transport: Transport, sending: asyncio.Future[None]) -> None:
    """Print what arrives, until the port is closed or, after the end of stdin, nothing arrives for a while."""
    import asyncio

    from phoenix_ga.cli import stdio

    output = stdio.Output()
    reading = asyncio.ensure_future(transport.read())
    try:
        while True:
            waiting: list[asyncio.Future[Any]] = [reading] if sending.done() else [reading, sending]
            timeout = _LAST_ANSWERS if sending.done() else None
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                data = reading.result()
                if not data:
                    return
                await output.write(data)
                reading = asyncio.ensure_future(transport.read())
            elif sending.done():
                sending.result()
                if not await _arrives(reading):
                    return
    finally:
        reading.cancel()


async def _arrives(reading: asyncio.Future[bytes]) -> bool:
    """Return whether something arrives soon."""
    import asyncio

    await asyncio.wait({reading}, timeout=_LAST_ANSWERS)
    return reading.done()
