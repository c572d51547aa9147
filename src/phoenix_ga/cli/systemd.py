"""Running the programs of systemd in the guest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.errors import GuestProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phoenix_ga.client import CompletedProcess, Guest

# Of what such a program writes to stdout and to stderr, in bytes.
_OUTPUT_MAX: Final = 8 * 1024 * 1024
_ERRORS_MAX: Final = 64 * 1024
_VARIABLES: Final = {"LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_URLIFY": "0"}


@contextmanager
def _needs(program: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise GuestProblem(f"the guest has no {program}: systemd does not run its services") from None


async def run_systemctl(guest: Guest, *words: str, timeout: float | None = None) -> CompletedProcess:
    """Run systemctl to its end."""
    argv = ["systemctl", "--no-pager", "--no-ask-password", *words]
    with _needs("systemctl"):
        return await guest.run(argv, env=_VARIABLES, limit=_OUTPUT_MAX, timeout=timeout or guest.timeout)


async def follow_program(
    guest: Guest, argv: Sequence[str], write: Callable[[bytes], Awaitable[None]]
) -> tuple[int, str]:
    """Run a program of systemd, and pass on its output as it arrives; return its exit status and its errors.

    If this is cancelled, the program is terminated.
    """
    errors = bytearray()
    with _needs(argv[0]):
        process = await guest.exec(list(argv), env=_VARIABLES)
    async with process:
        await process.stdin.end()

        async def collect_errors() -> None:
            assert process.stderr is not None
            while data := await process.stderr.read_chunk():
                errors.extend(data[: _ERRORS_MAX - len(errors)])

        collecting = asyncio.ensure_future(collect_errors())
        try:
            while data := await process.stdout.read_chunk():
                await write(data)
            await collecting
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
    status = process.returncode or 0
    return status if status >= 0 else 128 - status, errors.decode("utf-8", "backslashreplace")


def check(status: int, errors: str) -> None:
    """Raise GuestProblem if a program has failed."""
    if status:
        text = " ".join(errors.split("\n")).strip()
        raise GuestProblem(text or f"the program ended with status {status}")
