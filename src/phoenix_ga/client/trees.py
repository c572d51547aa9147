"""Copying directories in both directions, as one tar stream. Nothing that the guest sends is trusted."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from errno import ENOTSUP, EPERM
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar

from phoenix_ga.client.attributes import Xattrs
from phoenix_ga.client.errors import (
    PhoenixError,
    ProtocolError,
    StreamError,
    TransferIncompleteError,
    describe_returncode,
)
from phoenix_ga.client.new_directory import NewDirectory
from phoenix_ga.client.process import stream_returncode
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.client.transfer import SLOW_DISK, Progress, in_time
from phoenix_ga.trees.headers import DIRECTORY, FILE, HARD_LINK, SYMBOLIC_LINK, ArchiveError
from phoenix_ga.trees.members import ArchiveTooShort, Member, Source, StreamFailed
from phoenix_ga.trees.pack import Packer
from phoenix_ga.trees.report import MISSING, NOTE, Report, shown
from phoenix_ga.trees.unpack import LATER, LEADS_OUT, Rules, Unpacker
from phoenix_ga.trees.xattrs import is_known, is_unprivileged, is_usual

if TYPE_CHECKING:
    from phoenix_ga.client.commands import Commands
    from phoenix_ga.client.file_streams import DirectoryStream

# Bytes that the thread hands to the event loop at once.
_PIECE_SIZE: Final = 256 * 1024
# The longest report of the guest that is read, in bytes.
_REPORT_MAX: Final = 64 * 1024
_INCOMPLETE: Final = 1

Result = TypeVar("Result")


@dataclass(frozen=True)
class TransferredTree:
    """A copied directory.

    Attributes:
        size: of the tar stream, in bytes.
        notes: what was left out on purpose and why, a line each, at most 100 for each side: sockets; when
            copying to the host also devices, and links that lead out of the directory; the first file with
            extended attributes that are left out. Control characters are escaped.
    """

    size: int
    notes: tuple[str, ...]


class _Lines:
    """The lines of the reports of both sides."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Add a line of a Report."""
        self._lines.append(line)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._with_prefix(NOTE)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is missing, and lines of other kinds."""
        others = tuple(line for line in self._lines if not line.startswith((NOTE, MISSING)))
        return self._with_prefix(MISSING) + others

    def fail(self, name: str, text: str, stream: GuestStream) -> NoReturn:
        """Raise TransferIncompleteError."""
        raise TransferIncompleteError(f"{name}: {text}", self.missing, stream.request)

    def _with_prefix(self, kind: str) -> tuple[str, ...]:
        return tuple(line[len(kind) :] for line in self._lines if line.startswith(kind))


class _Bridge:
    """Runs coroutines on the event loop for a thread, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._step: Future[Any] | None = None
        self._closed = False

    def call(self, step: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """In the thread: run a coroutine and return its result. Raises CancelledError once closed."""
        future = self._step = asyncio.run_coroutine_threadsafe(step(), self._loop)
        if self._closed:
            future.cancel()
        result: Result = future.result()
        return result

    def close(self) -> None:
        """On the loop: cancel the current and all later coroutines."""
        self._closed = True
        if self._step is not None:
            self._step.cancel()


async def get_tree(
    guest: Commands,
    remote: str,
    local: str,
    owners: bool,
    set_id: bool,
    xattrs: Xattrs,
    limit: int | None,
    progress: Progress | None,
) -> TransferredTree:
    """Copy the directory `remote` from the guest to `local`. See `Guest.get_tree`."""
    if not hasattr(tarfile, "data_filter"):
        raise OSError(
            ENOTSUP,
            "unpacking needs tarfile.data_filter: Python 3.9.17, 3.10.12, 3.11.4, 3.12 or later",
        )
    lines = _Lines()
    sent = _Counter(progress)
    async with guest.files.get_tree_stream(remote, xattrs=bool(xattrs)) as opened:

        async def pull() -> bytes:
            piece = await in_time(guest.timeout, opened.stream.read_chunk(), opened.stream.request)
            sent.add(len(piece))
            return piece

        def work(bridge: _Bridge) -> None:
            path = os.fsencode(local)
            wanted = is_known if xattrs == "all" else is_unprivileged if xattrs else None
            rules = Rules(owners and os.geteuid() == 0, set_id, devices=False, judge=_judge(local), xattrs=wanted)
            source = Source(lambda: bridge.call(pull), limit)
            with NewDirectory(path) as directory:
                Unpacker(source, rules, Report(lines.add)).unpack(path, directory.is_new)

        report = asyncio.ensure_future(_read_lines(opened.stderr, lines))
        try:
            try:
                await _in_thread(work)
            except ArchiveTooShort:
                # The guest's report has the reason.
                await _end_of(guest, remote, opened, report, lines, 0)
                raise
            await _end_of(guest, remote, opened, report, lines, 0)
        except ArchiveError as error:
            raise ProtocolError(f"{remote}: {error}", opened.stream.request) from None
        finally:
            await _stop(report)
    if lines.missing:
        lines.fail(remote, "some of it is missing", opened.stream)
    return TransferredTree(sent.total, lines.notes)


async def put_tree(
    guest: Commands,
    local: str,
    remote: str,
    owners: bool,
    set_id: bool,
    xattrs: Xattrs,
    progress: Progress | None,
) -> TransferredTree:
    """Copy the directory `local` to `remote` in the guest. See `Guest.put_tree`."""
    # Raise now if it does not exist, before anything is made in the guest.
    os.close(os.open(local, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    lines = _Lines()
    sent = _Counter(progress)
    # This host may choose all attributes; what to send is chosen here.
    applied: Literal["none", "all"] = "all" if xattrs else "none"
    wanted = is_known if xattrs == "all" else is_usual if xattrs else None
    async with guest.files.put_tree_stream(remote, owners=owners, set_id=set_id, xattrs=applied) as opened:

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

            Packer(write, Report(lines.add), wanted).pack(os.fsencode(local))
            bridge.call(push)

        await _feed(guest, remote, opened, lines, sent, _in_thread(work))
    if lines.missing:
        lines.fail(remote, "some of it is missing", opened.stream)
    return TransferredTree(sent.total, lines.notes)


async def copy_tree(
    source: Commands,
    path: str,
    target: Commands,
    target_path: str,
    owners: bool,
    set_id: bool,
    xattrs: Xattrs,
    progress: Progress | None,
) -> TransferredTree:
    """Copy a directory between guests. See `copy_tree_between`."""
    lines = _Lines()
    sent = _Counter(progress)
    applied: Literal["none", "user", "all"] = "all" if xattrs == "all" else "user" if xattrs else "none"
    async with source.files.get_tree_stream(path, xattrs=bool(xattrs)) as origin:
        report = asyncio.ensure_future(_read_lines(origin.stderr, lines))
        try:
            async with target.files.put_tree_stream(
                target_path, owners=owners, set_id=set_id, xattrs=applied
            ) as opened:

                async def work() -> None:
                    while piece := await in_time(source.timeout, origin.stream.read_chunk(), origin.stream.request):
                        await in_time(target.timeout, opened.stream.write(piece), opened.stream.request)
                        sent.add(len(piece))
                    await _end_of(source, path, origin, report, lines, 0)

                await _feed(target, target_path, opened, lines, sent, work())
        finally:
            await _stop(report)
    if lines.missing:
        lines.fail(path, "some of it is missing", origin.stream)
    return TransferredTree(sent.total, lines.notes)


class _Counter:
    """Counts bytes and reports progress. total: bytes so far."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.total = 0

    def add(self, size: int) -> None:
        """Add `size` bytes."""
        self.total += size
        if self._progress is not None and size:
            self._progress(self.total, None)


async def _feed(
    guest: Commands,
    name: str,
    opened: DirectoryStream,
    lines: _Lines,
    sent: _Counter,
    work: Coroutine[Any, Any, None],
) -> None:
    """Run `work`, which writes the stream of a directory to the guest, and wait for the guest's verdict."""
    report = asyncio.ensure_future(_read_lines(opened.stderr, lines))
    try:
        try:
            await work
            await in_time(guest.timeout, opened.stream.end(), opened.stream.request)
        except StreamError:
            # The guest gave up early; its report has the reason.
            if not opened.stream.has_ended:
                raise
            await _end_of(guest, name, opened, report, lines, 0)
            lines.fail(name, "the guest ended the transfer early", opened.stream)
        await _end_of(guest, name, opened, report, lines, sent.total)
    finally:
        await _stop(report)


async def _end_of(
    guest: Commands, name: str, opened: DirectoryStream, report: asyncio.Future[None], lines: _Lines, size: int
) -> None:
    """Read to the closing message. size: bytes that the guest flushes to its disk now."""
    limit = None if guest.timeout is None else guest.timeout + size / SLOW_DISK
    while await in_time(limit, opened.stream.read_chunk(), opened.stream.request):
        pass
    await in_time(guest.timeout, asyncio.shield(report), opened.stream.request)
    returncode = stream_returncode(opened.stream)
    if returncode == _INCOMPLETE and not lines.missing:
        lines.add(f"{MISSING}{name}: the guest did not report what")
    if returncode not in (0, _INCOMPLETE):
        lines.fail(name, describe_returncode("the guest's helper process", returncode), opened.stream)


async def _read_lines(stream: GuestStream, lines: _Lines) -> None:
    """Read the report of the guest, at most _REPORT_MAX bytes. Errors show on the other stream as well."""
    text = bytearray()
    try:
        while data := await stream.read_chunk():
            text += data[: _REPORT_MAX - len(text)]
    except PhoenixError:
        pass
    for line in text.decode("utf-8", "backslashreplace").rstrip("\n").split("\n") if text else ():
        lines.add("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line))


async def _stop(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _in_thread(work: Callable[[_Bridge], None]) -> None:
    """Run `work` in a thread. If this is cancelled, it waits until the thread has cleaned up."""
    bridge = _Bridge()
    executor = ThreadPoolExecutor(1, "phoenix-tree")
    try:
        running = asyncio.get_running_loop().run_in_executor(executor, work, bridge)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            bridge.close()
            await _wait_uncancelled(running)
            raise
        except StreamFailed as error:
            raise error.__cause__ or error from None
    finally:
        executor.shutdown()


async def _wait_uncancelled(future: asyncio.Future[None]) -> None:
    """Wait for the end of a future, however often this is cancelled."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            pass
    if not future.cancelled():
        future.exception()


def _judge(local: str) -> Callable[[Member, bool], str]:
    """Return the `judge` of Rules for the host."""
    destination = os.path.abspath(local)
    # The directory of the last file that passed: the filter takes far longer than the rest for a small file.
    last: bytes | None = None

    def judge(member: Member, is_safe: bool) -> str:
        nonlocal last
        if member.kind not in (FILE, DIRECTORY, SYMBOLIC_LINK, HARD_LINK):
            return "a FIFO or a device, left out"
        if member.kind == SYMBOLIC_LINK and not is_safe:
            if _leads_out(member):
                return f"{LEADS_OUT}, to {shown(member.link)}"
            if _goes_up_later(member):
                return LATER
        directory = member.name.rpartition(b"/")[0]
        if member.kind == FILE and directory == last:
            return ""
        last = None
        # tarfile examines the existing files, so names are decoded with the locale.
        information = tarfile.TarInfo(os.fsdecode(member.name) or ".")
        information.type = member.kind
        information.linkname = os.fsdecode(member.link)
        try:
            tarfile.data_filter(information, destination)
        except tarfile.FilterError as error:
            raise OSError(EPERM, f"it would be outside of the directory ({type(error).__name__})") from None
        if member.kind == FILE:
            last = directory
        return ""

    return judge


def _leads_out(member: Member) -> bool:
    """Return whether a symbolic link leads out of the tree if all names in its target are directories."""
    depth = member.name.count(b"/")
    if member.link.startswith(b"/"):
        return True
    for part in member.link.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            depth += 1
    return False


def _goes_up_later(member: Member) -> bool:
    """Return whether `..` follows a name in the target of a link, which may be a link that follows in the stream.

    `..` is safe only at the beginning, where it goes up through real directories.
    """
    parts = [part for part in member.link.split(b"/") if part not in (b"", b".")]
    return b".." in parts[next((at for at, part in enumerate(parts) if part != b".."), len(parts)) :]
