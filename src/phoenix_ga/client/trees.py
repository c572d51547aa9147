"""Directories in both directions, as one tar stream. Nothing that a guest sends is trusted."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from errno import ENOTSUP, EPERM
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from phoenix_ga.client.errors import GuestError, ProtocolViolation, StreamBroken, TransferIncomplete
from phoenix_ga.client.new_directory import NewDirectory
from phoenix_ga.client.process import describe_returncode, read_returncode
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import SLOW_DISK, Progress, in_time
from phoenix_ga.trees.members import (
    DIRECTORY,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    ArchiveError,
    ArchiveTooShort,
    Member,
    Source,
    StreamFailed,
)
from phoenix_ga.trees.pack import Packer
from phoenix_ga.trees.report import MISSING, NOTE, Report, shown
from phoenix_ga.trees.unpack import Rules, Unpacker

if TYPE_CHECKING:
    from phoenix_ga.client.guest import Guest

# What is given to the loop at once, in bytes.
_PIECE_SIZE: Final = 256 * 1024
# The most that a guest may tell of what it left out, in bytes.
_REPORT_MAX: Final = 64 * 1024
_INCOMPLETE: Final = 1

Result = TypeVar("Result")


@dataclass(frozen=True)
class TransferredTree:
    """What was copied of a directory.

    size: of the tar stream, in bytes. notes: what was left out on purpose and why, a line each, the first
    hundred of each side: sockets, and on this host devices and links that lead out of the directory. Names
    of the guest in them hold no control characters.
    """

    size: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DirectoryStream:
    """A directory on its way: the tar `stream`, and what the guest has to tell of it, `stderr`."""

    stream: GuestStream
    stderr: GuestStream

    async def __aenter__(self) -> DirectoryStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.reset()
        await self.stderr.reset()


class _Lines:
    """What both sides tell of a copy."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Take a line of a Report."""
        self._lines.append(line)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._of(NOTE)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is missing, and whatever else a guest had to say."""
        others = tuple(line for line in self._lines if not line.startswith((NOTE, MISSING)))
        return self._of(MISSING) + others

    def fail(self, name: str, text: str, stream: GuestStream) -> NoReturn:
        """Raise the error that tells what is missing. stream: that of the copy."""
        raise TransferIncomplete(f"{name}: {text}", self.missing, stream.request)

    def _of(self, kind: str) -> tuple[str, ...]:
        return tuple(line[len(kind) :] for line in self._lines if line.startswith(kind))


class _Bridge:
    """Lets a thread do something on the loop, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._step: Future[Any] | None = None
        self._closed = False

    def call(self, step: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """In the thread: return what a coroutine returns. Raises what it raises, CancelledError when closed."""
        future = self._step = asyncio.run_coroutine_threadsafe(step(), self._loop)
        if self._closed:
            future.cancel()
        result: Result = future.result()
        return result

    def close(self) -> None:
        """On the loop: let the step that the thread waits for, and all later ones, be cancelled."""
        self._closed = True
        if self._step is not None:
            self._step.cancel()


async def get_tree(
    guest: Guest,
    remote: str,
    local: str,
    owners: bool,
    set_id: bool,
    limit: int | None,
    progress: Progress | None,
) -> TransferredTree:
    """Copy the directory `remote` of the guest to `local`. `Guest.get_tree` tells of arguments and errors."""
    if not hasattr(tarfile, "data_filter"):
        raise OSError(
            ENOTSUP,
            "this Python is too old to unpack what a guest sends; take 3.9.17, 3.10.12, 3.11.4, 3.12 or later",
        )
    lines = _Lines()
    sent = _Counter(progress)
    async with await guest.directory_get(remote) as opened:

        async def pull() -> bytes:
            piece = await in_time(guest.timeout, opened.stream.read(), opened.stream.request)
            sent.add(len(piece))
            return piece

        def work(bridge: _Bridge) -> None:
            path = os.fsencode(local)
            rules = Rules(owners and os.geteuid() == 0, set_id, devices=False, judge=_judge(local))
            source = Source(lambda: bridge.call(pull), limit)
            with NewDirectory(path) as directory:
                Unpacker(source, rules, Report(lines.add)).unpack(path, directory.is_new)

        telling = asyncio.ensure_future(_read_lines(opened.stderr, lines))
        try:
            try:
                await _in_thread(work)
            except ArchiveTooShort:
                # The guest says why.
                await _end_of(guest, remote, opened, telling, lines, 0)
                raise
            await _end_of(guest, remote, opened, telling, lines, 0)
        except ArchiveError as error:
            raise ProtocolViolation(f"{remote}: {error}", opened.stream.request) from None
        finally:
            await _stop(telling)
    if lines.missing:
        lines.fail(remote, "some of it is missing", opened.stream)
    return TransferredTree(sent.total, lines.notes)


async def put_tree(
    guest: Guest, local: str, remote: str, owners: bool, set_id: bool, progress: Progress | None
) -> TransferredTree:
    """Copy the directory `local` to `remote` of the guest. `Guest.put_tree` tells of arguments and errors."""
    # That it is not there should be said before anything is made in the guest.
    os.close(os.open(local, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    lines = _Lines()
    sent = _Counter(progress)
    async with await guest.directory_put(remote, owners, set_id) as opened:

        def work(bridge: _Bridge) -> None:
            buffer = bytearray()

            async def push() -> None:
                await in_time(guest.timeout, opened.stream.write(buffer), opened.stream.request)
                sent.add(len(buffer))

            def write(data: bytes) -> None:
                buffer.extend(data)
                if len(buffer) >= _PIECE_SIZE:
                    bridge.call(push)
                    del buffer[:]

            Packer(write, Report(lines.add)).pack(os.fsencode(local))
            bridge.call(push)

        await _feed(guest, remote, opened, lines, sent, _in_thread(work))
    if lines.missing:
        lines.fail(remote, "some of it is missing", opened.stream)
    return TransferredTree(sent.total, lines.notes)


async def relay_tree(
    source: Guest, path: str, target: Guest, target_path: str, owners: bool, set_id: bool, progress: Progress | None
) -> TransferredTree:
    """Copy a directory between guests. `copy_tree_between` tells of arguments and errors."""
    lines = _Lines()
    sent = _Counter(progress)
    async with await source.directory_get(path) as origin:
        telling = asyncio.ensure_future(_read_lines(origin.stderr, lines))
        try:
            async with await target.directory_put(target_path, owners, set_id) as opened:

                async def work() -> None:
                    while piece := await in_time(source.timeout, origin.stream.read(), origin.stream.request):
                        await in_time(target.timeout, opened.stream.write(piece), opened.stream.request)
                        sent.add(len(piece))
                    await _end_of(source, path, origin, telling, lines, 0)

                await _feed(target, target_path, opened, lines, sent, work())
        finally:
            await _stop(telling)
    if lines.missing:
        lines.fail(path, "some of it is missing", origin.stream)
    return TransferredTree(sent.total, lines.notes)


class _Counter:
    """Counts bytes, and tells of them. total: how many so far."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.total = 0

    def add(self, size: int) -> None:
        """Count so many bytes."""
        self.total += size
        if self._progress is not None and size:
            self._progress(self.total, None)


async def _feed(
    guest: Guest,
    name: str,
    opened: DirectoryStream,
    lines: _Lines,
    sent: _Counter,
    work: Coroutine[Any, Any, None],
) -> None:
    """Let `work` write to a stream that puts a directory; see it through to its end."""
    telling = asyncio.ensure_future(_read_lines(opened.stderr, lines))
    try:
        try:
            await work
            await in_time(guest.timeout, opened.stream.end(), opened.stream.request)
        except StreamBroken:
            # The guest gave up before it had taken all, and says why.
            if not opened.stream.has_ended:
                raise
            await _end_of(guest, name, opened, telling, lines, 0)
            lines.fail(name, "the guest ended it too early", opened.stream)
        await _end_of(guest, name, opened, telling, lines, sent.total)
    finally:
        await _stop(telling)


async def _end_of(
    guest: Guest, name: str, opened: DirectoryStream, telling: asyncio.Future[None], lines: _Lines, size: int
) -> None:
    """Read on to the guest's last words. size: what it brings to its disk now. Raises TransferIncomplete."""
    limit = None if guest.timeout is None else guest.timeout + size / SLOW_DISK
    while await in_time(limit, opened.stream.read(), opened.stream.request):
        pass
    await in_time(guest.timeout, asyncio.shield(telling), opened.stream.request)
    returncode = read_returncode(opened.stream)
    if returncode == _INCOMPLETE and not lines.missing:
        lines.add(f"{MISSING}{name}: the guest does not say what")
    if returncode not in (0, _INCOMPLETE):
        lines.fail(name, describe_returncode("its copying", returncode), opened.stream)


async def _read_lines(stream: GuestStream, lines: _Lines) -> None:
    """Take what the guest tells, of much only the beginning. Errors show on the other stream as well."""
    text = bytearray()
    try:
        while data := await stream.read():
            text += data[: _REPORT_MAX - len(text)]
    except GuestError:
        pass
    for line in text.decode("utf-8", "backslashreplace").rstrip("\n").split("\n") if text else ():
        lines.add("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line))


async def _stop(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _in_thread(work: Callable[[_Bridge], None]) -> None:
    """Run `work` in a thread. Where this is cancelled, the thread cleans up before it returns."""
    bridge = _Bridge()
    executor = ThreadPoolExecutor(1, "phoenix-tree")
    try:
        running = asyncio.get_running_loop().run_in_executor(executor, work, bridge)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            bridge.close()
            await _outlast(running)
            raise
        except StreamFailed as error:
            raise error.__cause__ or error from None
    finally:
        executor.shutdown()


async def _outlast(future: asyncio.Future[None]) -> None:
    """Wait for the end of something, however often this is cancelled."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            pass
    if not future.cancelled():
        future.exception()


def _judge(local: str) -> Callable[[Member], str]:
    """Return what tells why a member is left out on this host, or nothing."""
    destination = os.path.abspath(local)

    def judge(member: Member) -> str:
        if member.kind not in (FILE, DIRECTORY, SYMBOLIC_LINK, HARD_LINK):
            return "a FIFO or a device, left out"
        if member.kind == SYMBOLIC_LINK and _leads_out(member):
            return f"a link that leads out of the directory, to {shown(member.link)}"
        information = member.information()
        # As the locale has it, for tarfile looks at what is there.
        information.name = os.fsdecode(member.name) or "."
        information.linkname = os.fsdecode(member.link)
        try:
            tarfile.data_filter(information, destination)
        except tarfile.FilterError as error:
            raise OSError(EPERM, f"it would be outside of the directory ({type(error).__name__})") from None
        return ""

    return judge


def _leads_out(member: Member) -> bool:
    """Tell whether a symbolic link may lead out of the tree, through other links that may come as well.

    With `..` only in front, each of them goes up through real directories, and then down.
    """
    depth = member.name.count(b"/")
    down = False
    if member.link.startswith(b"/"):
        return True
    for part in member.link.split(b"/"):
        if part == b"..":
            depth -= 1
            if down or depth < 0:
                return True
        elif part not in (b"", b"."):
            down = True
    return False
