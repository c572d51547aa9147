"""Copying files and directories from guests, to guests and between them"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from errno import EISDIR, ENOTDIR
from typing import TYPE_CHECKING, Any, Optional

import click

from phoenix_ga.cli.errors import complain, explain
from phoenix_ga.cli.paths import split_guest_path
from phoenix_ga.cli.progress import ProgressDisplay
from phoenix_ga.cli.selection import select_one, socket_of

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, Transferred, TransferredTree
    from phoenix_ga.client.discovery import KnownGuest

Progress = Callable[[int, Optional[int]], None]


@dataclass(frozen=True)
class CopyPlace:
    """A path on this host, or in a guest. word: as it was typed. endpoint: the words for the guest; None: this host.

    known: the guest, once it was looked for.
    """

    word: str
    endpoint: str | None
    path: str
    known: KnownGuest | None = None

    @classmethod
    def parse(cls, word: str) -> CopyPlace:
        there = split_guest_path(word)
        return cls(word, None, word) if there is None else cls(word, *there)

    @property
    def name(self) -> str:
        """What a copy of it is called in a directory; empty where its content goes there."""
        name = os.path.basename(self.path.rstrip("/"))
        if name == "..":
            raise click.UsageError(f"{self.word} has no name of its own; write it without `..`.")
        return "" if name == "." else name

    @property
    def guest(self) -> str:
        """What is the same for all ways to write an endpoint; empty on this host."""
        return "" if self.known is None else socket_of(self.known)

    def resolved(self) -> CopyPlace:
        """Return it with its guest. Raises EndpointError."""
        return self if self.endpoint is None else replace(self, known=select_one(self.endpoint))

    def inside(self, name: str) -> CopyPlace:
        """Return the place `name` in this directory."""
        path = os.path.join(self.path, name) if name else self.path
        return replace(self, path=path)


@dataclass(frozen=True)
class CopyOptions:
    """How it is to be copied; the options of `cp`."""

    recursive: bool
    owners: bool
    set_id: bool
    resume: bool
    verify: bool


class Copier:
    """One run of `cp`: the connections that it has open. show: is given what is known of each copy."""

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
        self._kept = {"owners": form.owners, "set_id": form.set_id}
        # A port takes one client at a time, so each guest is connected to once.
        self._guests: dict[str, Guest] = {}

    async def copy_all(self, origins: list[CopyPlace], target: CopyPlace) -> int:
        """Copy one after the other; return the exit status. What fails for one alone does not keep back others."""
        from phoenix_ga.client import GuestRefused, GuestTimeout, TransferIncomplete

        worst = 0
        async with contextlib.AsyncExitStack() as stack:
            for place in (*origins, target):
                if place.known is not None and place.guest not in self._guests:
                    connected = await stack.enter_async_context(self._connect(place.known))
                    self._guests[place.guest] = connected
            below = await self._is_directory(target)
            if len(origins) > 1 and not below:
                raise NotADirectoryError(ENOTDIR, "is no directory, to which several could be copied", target.word)
            for origin in origins:
                try:
                    await self._copy(origin, target.inside(origin.name) if below else target)
                except GuestTimeout:
                    raise
                except (GuestRefused, TransferIncomplete, OSError) as error:
                    if len(origins) == 1 and not isinstance(error, TransferIncomplete):
                        raise
                    worst, text = explain(error)
                    if isinstance(error, TransferIncomplete):
                        text = error.reason
                        for line in error.missing:
                            complain(f"{origin.word}: {line}")
                    complain(text)
        return worst

    async def _copy(self, origin: CopyPlace, target: CopyPlace) -> None:
        start = time.perf_counter()
        with self._display.part(origin.name or origin.word) as progress:
            if self._form.recursive and await self._is_directory(origin):
                tree = await self._copy_tree(origin, target, progress)
                values: dict[str, Any] = {"bytes": tree.size, "notes": list(tree.notes)}
                if not self._display.json:
                    for note in tree.notes:
                        complain(f"{origin.word}: {note}")
            else:
                file = await self._copy_file(origin, target, progress)
                values = {"bytes": file.size, "sha256": file.sha256, "verified": file.verified}
                if self._form.resume:
                    values["resumed"] = file.resumed
        await self._show({**values, "seconds": round(time.perf_counter() - start, 3)})

    async def _copy_file(self, origin: CopyPlace, target: CopyPlace, progress: Progress | None) -> Transferred:
        from phoenix_ga.client import copy_between

        there, here = self._guest(origin), self._guest(target)
        keywords: dict[str, Any] = {"verify": self._form.verify, "progress": progress}
        try:
            if there is None:
                assert here is not None
                return await here.put(origin.path, target.path, resume=self._form.resume, **keywords)
            if here is None:
                return await there.get(origin.path, target.path, resume=self._form.resume, **keywords)
            return await copy_between(there, origin.path, here, target.path, **keywords)
        except IsADirectoryError:
            if not await self._is_directory(origin):
                raise
            text = "is a directory; -r copies it with all that is in it"
            raise IsADirectoryError(EISDIR, text, origin.word) from None

    async def _copy_tree(self, origin: CopyPlace, target: CopyPlace, progress: Progress | None) -> TransferredTree:
        from phoenix_ga.client import copy_tree_between

        there, here = self._guest(origin), self._guest(target)
        if there is not None and here is not None:
            if origin.guest == target.guest and _is_below(target.path, origin.path):
                raise click.UsageError(f"{target.path} is inside of {origin.path}.")
            return await copy_tree_between(there, origin.path, here, target.path, progress=progress, **self._kept)
        if there is not None:
            return await there.get_tree(origin.path, target.path, progress=progress, **self._kept)
        assert here is not None
        return await here.put_tree(origin.path, target.path, progress=progress, **self._kept)

    async def _is_directory(self, place: CopyPlace) -> bool:
        guest = self._guest(place)
        return os.path.isdir(place.path) if guest is None else await _is_directory(guest, place.path)

    def _guest(self, place: CopyPlace) -> Guest | None:
        return None if place.endpoint is None else self._guests[place.guest]


async def _is_directory(guest: Guest, path: str) -> bool:
    from phoenix_ga.client import GuestRefused

    try:
        # With a dot behind it, a symbolic link to a directory is followed.
        return (await guest.file_stat(path.rstrip("/") + "/.")).is_directory
    except GuestRefused as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise
        return False


def _is_below(path: str, directory: str) -> bool:
    return (os.path.normpath(path) + "/").startswith(os.path.normpath(directory).rstrip("/") + "/")
