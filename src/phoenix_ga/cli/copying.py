"""Copying files and directories from guests, to guests and between guests."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from errno import EISDIR, ENOENT, ENOTDIR
from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.errors import GuestProblem, about_guest, complain, report
from phoenix_ga.cli.expansion import expand
from phoenix_ga.cli.paths import split_guest_path
from phoenix_ga.cli.progress import Progress, ProgressDisplay
from phoenix_ga.cli.selection import select_one, socket_of

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, Transferred, TransferredTree
    from phoenix_ga.client.attributes import Xattrs
    from phoenix_ga.client.digests import Verify
    from phoenix_ga.client.discovery import KnownGuest

# The commands that read in the guest; an error of another one is about the destination.
_READING = ("file-get", "directory-get")


@dataclass(frozen=True)
class CopyPlace:
    """A path on this host or in a guest. word: as typed. endpoint: the words for the guest, None: this host.

    known: the guest, after `resolved`.
    """

    word: str
    endpoint: str | None
    path: str
    known: KnownGuest | None = None

    @classmethod
    def parse(cls, word: str) -> CopyPlace:
        """Parse GUEST:/PATH or a local path. Raises UsageError."""
        place = split_guest_path(word)
        if place is None:
            _reject_relative_path(word)
        return cls(word, None, word) if place is None else cls(word, *place)

    @property
    def name(self) -> str:
        """The name of a copy in a directory; empty for `.`, whose content is copied."""
        name = os.path.basename(self.path.rstrip("/"))
        if name == "..":
            raise click.UsageError(f"{self.word} ends in `..`; write the name of the directory.")
        return "" if name == "." else name

    @property
    def guest(self) -> str:
        """The endpoint; empty on this host."""
        return "" if self.known is None else socket_of(self.known)

    def resolved(self) -> CopyPlace:
        """Return it with its guest. Raises EndpointError."""
        return self if self.endpoint is None else replace(self, known=select_one(self.endpoint))

    def inside(self, name: str) -> CopyPlace:
        """Return the place `name` in this directory."""
        path = os.path.join(self.path, name) if name else self.path
        return replace(self, path=path)

    def problem(self, code: int, text: str) -> OSError:
        """Return an error about it."""
        if self.known is None:
            return OSError(code, text, self.path)
        error = GuestProblem(code, text, self.path)
        vars(error)["guest"] = self.known.name
        return error


def _reject_relative_path(word: str) -> None:
    """Raise UsageError for a word such as `web1:tmp`, unless it can only be a local path."""
    begin, colon, path = word.partition(":")
    if not (colon and begin) or os.path.exists(word):
        return
    if "/" in begin:
        is_guest = os.path.exists(begin) and stat.S_ISSOCK(os.stat(begin).st_mode)
    else:
        from phoenix_ga.client.discovery import known_guests

        is_guest = any(begin == guest.name or begin in guest.aliases for guest in known_guests())
    if is_guest:
        raise click.UsageError(f"{word}: the path in the guest must be absolute, such as {begin}:/{path}.")


@dataclass(frozen=True)
class CopyOptions:
    """The options of `cp`."""

    recursive: bool
    preserve: bool
    owners: bool
    set_id: bool
    xattrs: Xattrs
    resume: bool
    verify: Verify


class Copier:
    """One run of `cp` and its connections. show: called with the JSON value of each copy."""

    def __init__(
        self,
        form: CopyOptions,
        display: ProgressDisplay,
        connect: Callable[[KnownGuest], contextlib.AbstractAsyncContextManager[Guest]],
        show: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._form = form
        self._display = display
        self._connect = connect
        self._show = show
        self._kept: dict[str, Any] = {
            "owners": form.owners or form.preserve,
            "set_id": form.set_id,
            "xattrs": form.xattrs,
        }
        # A port takes one client at a time, so there is one connection for each guest.
        self._guests: dict[str, Guest] = {}
        self._notes_told = False

    async def copy_all(self, origins: list[CopyPlace], target: CopyPlace) -> int:
        """Copy the sources in turn; return the exit status. A failure does not stop the remaining ones."""
        from phoenix_ga.client import CommandError, GuestTimeoutError, TransferIncompleteError

        status = 0
        async with contextlib.AsyncExitStack() as stack:
            for place in (*origins, target):
                if place.known is not None and place.guest not in self._guests:
                    with about_guest(place.known.name):
                        self._guests[place.guest] = await stack.enter_async_context(self._connect(place.known))
            into = await self._is_directory(target)
            origins = [each for origin in origins for each in await self._expanded(origin)]
            if len(origins) > 1 and not into:
                raise target.problem(ENOTDIR, "not a directory, but there are several sources")
            for origin in origins:
                try:
                    await self._copy(origin, target, into)
                except GuestTimeoutError:
                    raise
                except (CommandError, TransferIncompleteError, OSError) as error:
                    if isinstance(error, TransferIncompleteError):
                        for line in error.missing:
                            complain(f"{origin.word}: {line}")
                        error.text = error.reason
                    elif len(origins) == 1:
                        raise
                    status = report(error)
        return status

    async def _expanded(self, origin: CopyPlace) -> list[CopyPlace]:
        guest = self._guest(origin)
        if guest is None or origin.known is None:
            return [origin]
        with about_guest(origin.known.name):
            paths = await expand(guest, origin.path)
        return [replace(origin, path=path, word=f"{origin.endpoint}:{path}") for path in paths]

    async def _copy(self, origin: CopyPlace, target: CopyPlace, into: bool) -> None:
        start = time.perf_counter()
        is_tree = self._form.recursive and await self._is_directory(origin)
        if into:
            target = target.inside(origin.name)
        elif target.path.endswith("/") and not is_tree:
            raise target.problem(ENOENT, os.strerror(ENOENT))
        with self._display.part(origin.name or origin.word) as progress, self._side(origin, target):
            if is_tree:
                tree = await self._copy_tree(origin, target, progress)
                values: dict[str, Any] = {"bytes": tree.size}
                notes = tree.notes
            else:
                file = await self._copy_file(origin, target, progress)
                # Those of several files differ in nothing that matters.
                notes, self._notes_told = (
                    (() if self._notes_told else file.notes),
                    self._notes_told or bool(file.notes),
                )
                values = {
                    "bytes": file.size,
                    "verified": file.verified,
                    "algorithm": file.algorithm,
                    "digest": file.digest,
                    "digest_of": file.digest_of,
                }
                if self._form.resume:
                    values["resumed"] = file.resumed
            if not self._display.json:
                for note in notes:
                    complain(f"{origin.word}: {note}")
        values["notes"] = list(notes)
        await self._show({**values, "seconds": round(time.perf_counter() - start, 3)})

    async def _copy_file(self, origin: CopyPlace, target: CopyPlace, progress: Progress | None) -> Transferred:
        from phoenix_ga.client import copy_between

        source, sink = self._guest(origin), self._guest(target)
        form = self._form
        keywords: dict[str, Any] = {"verify": form.verify, "preserve": form.preserve, "xattrs": form.xattrs}
        keywords["progress"] = progress
        try:
            if source is None:
                assert sink is not None
                return await sink.put(origin.path, target.path, resume=form.resume, **keywords)
            if sink is None:
                return await source.get(origin.path, target.path, resume=form.resume, **keywords)
            return await copy_between(source, origin.path, sink, target.path, **keywords)
        except IsADirectoryError:
            if not await self._is_directory(origin):
                raise
            raise origin.problem(EISDIR, "is a directory; use -r to copy it") from None

    async def _copy_tree(self, origin: CopyPlace, target: CopyPlace, progress: Progress | None) -> TransferredTree:
        from phoenix_ga.client import copy_tree_between

        source, sink = self._guest(origin), self._guest(target)
        if source is not None and sink is not None:
            if origin.guest == target.guest and _is_below(target.path, origin.path):
                raise click.UsageError(f"{target.path} is inside {origin.path}.")
            return await copy_tree_between(source, origin.path, sink, target.path, progress=progress, **self._kept)
        if source is not None:
            return await source.get_tree(origin.path, target.path, progress=progress, **self._kept)
        assert sink is not None
        return await sink.put_tree(origin.path, target.path, progress=progress, **self._kept)

    @contextlib.contextmanager
    def _side(self, origin: CopyPlace, target: CopyPlace) -> Iterator[None]:
        """Note the guest that an error is about: the one that was read from, or the one that was written to."""
        from phoenix_ga.client import PhoenixError

        try:
            yield
        except PhoenixError as error:
            reading = error.request is not None and error.request.execute in _READING
            place = origin if target.known is None or (reading and origin.known is not None) else target
            if place.known is not None:
                vars(error).setdefault("guest", place.known.name)
            raise

    async def _is_directory(self, place: CopyPlace) -> bool:
        guest = self._guest(place)
        if guest is None or place.known is None:
            return os.path.isdir(place.path)
        with about_guest(place.known.name):
            return await _is_directory(guest, place.path)

    def _guest(self, place: CopyPlace) -> Guest | None:
        return None if place.endpoint is None else self._guests[place.guest]


async def _is_directory(guest: Guest, path: str) -> bool:
    from phoenix_ga.client import CommandError

    try:
        # The dot makes the guest follow a symbolic link to a directory.
        return (await guest.files.stat(path.rstrip("/") + "/.")).is_directory
    except CommandError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise
        return False


def _is_below(path: str, directory: str) -> bool:
    return (os.path.normpath(path) + "/").startswith(os.path.normpath(directory).rstrip("/") + "/")
