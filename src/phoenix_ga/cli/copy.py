"""The verb `cp`: files and directories, from guests and to them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from errno import EISDIR, ENOTDIR
from typing import TYPE_CHECKING, Any, Optional

import click

from phoenix_ga.cli.context import Options, run
from phoenix_ga.cli.errors import complain, explain
from phoenix_ga.cli.output import escape, size
from phoenix_ga.cli.path_completion import complete_path
from phoenix_ga.cli.paths import split_guest_path
from phoenix_ga.cli.selection import is_plain, select, select_one, socket_of

if TYPE_CHECKING:
    from phoenix_ga.client import Guest, Transferred, TransferredTree
    from phoenix_ga.client.discovery import KnownGuest

Progress = Callable[[int, Optional[int]], None]


@dataclass(frozen=True)
class _Place:
    """A path on this host, or in a guest. word: as it was typed. endpoint: the words for the guest; None: this host.

    known: the guest, once it was looked for.
    """

    word: str
    endpoint: str | None
    path: str
    known: KnownGuest | None = None

    @classmethod
    def parse(cls, word: str) -> _Place:
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

    def resolved(self) -> _Place:
        """Return it with its guest. Raises EndpointError."""
        return self if self.endpoint is None else replace(self, known=select_one(self.endpoint))

    def inside(self, name: str) -> _Place:
        """Return the place `name` in this directory."""
        path = os.path.join(self.path, name) if name else self.path
        return replace(self, path=path)


@click.command(
    short_help="Copy files and directories from guests, or to them.",
    epilog="""\b
SRC and DST are GUEST:PATH, with an absolute PATH in the guest, or local files: what has no
`:/` in it is local. At least one of them is in a guest. A destination that is a directory
gets a copy of the same name, else it becomes the copy. The permission bits are kept, and the
holes of single files. Each file appears at the destination whole, or not at all.

\b
With --resume, what has come of a file is kept where the copy breaks off, beside the destination as
`.NAME.PART.phoenix-part`, and the next copy of the same unchanged file goes on from there.

\b
With -r, times and links are kept as well. What a guest sends never gets outside of DST:
links that lead out of it, devices and FIFOs are left out here, and named on stderr.

\b
Examples:
  $ phoenixctl cp unix:/run/web1.sock:/etc/hosts ./hosts-of-web1
  $ phoenixctl cp index.html style.css /run/web1.sock:/srv/www/
  $ phoenixctl cp -r /run/web1.sock:/srv/www /run/web2.sock:/srv/
  $ phoenixctl cp site.conf 'web*:/etc/nginx/'
""",
)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=complete_path)
@click.argument("destination", metavar="DST", shell_complete=complete_path)
@click.option("-r", "-R", "--recursive", is_flag=True, help="Copy directories with all that is in them.")
@click.option("--owners", is_flag=True, help="With -r, keep the numeric owners, where the receiver is root.")
@click.option("--set-id", is_flag=True, help="With -r, keep set-user-ID and set-group-ID bits.")
@click.option(
    "--resume", is_flag=True, help="Go on where a copy of the same file stopped; keep what came if this one does."
)
@click.option("--no-verify", is_flag=True, help="Do not compare the SHA-256 of both sides of single files.")
@click.pass_obj
def cp(
    options: Options,
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    owners: bool,
    set_id: bool,
    resume: bool,
    no_verify: bool,
) -> int:
    """Copy files and directories from guests, to them, or between them, as scp does."""
    origins = [_Place.parse(word) for word in sources]
    target = _Place.parse(destination)
    # One without a name should not be found when others have been copied.
    names = [origin.name for origin in origins]
    for name, origin in zip(names, origins):
        if not (name or recursive):
            raise click.UsageError(f"{origin.word} is a directory; -r copies it with all that is in it.")
        if origin.endpoint is None and target.endpoint is None:
            raise click.UsageError("One of SRC and DST must be GUEST:/PATH; cp(1) copies local files.")
    if resume and (recursive or no_verify):
        raise click.UsageError("--resume is for single files, and verifies them: leave out -r and --no-verify.")
    if resume and target.endpoint is not None and any(origin.endpoint is not None for origin in origins):
        raise click.UsageError("--resume is for copies from a guest or to one, not between guests.")
    form = _Form(recursive, owners, set_id, resume, not no_verify)
    if any(origin.endpoint is not None and not is_plain(origin.endpoint) for origin in origins):
        raise click.UsageError("Copies from several guests would take each other's place; copy from one at a time.")
    if target.endpoint is not None and not is_plain(target.endpoint):
        if any(origin.endpoint is not None for origin in origins):
            raise click.UsageError("What goes to several guests comes from this host; copy it here first.")
        return _copy_to_several(options, form, origins, target)

    origins, target = [origin.resolved() for origin in origins], target.resolved()

    async def show(values: dict[str, Any]) -> None:
        if options.json:
            options.show(values, "")

    with _Display(options) as display:
        return run(_Copying(form, display, options.connect_to, show).copy_all(origins, target))


def _copy_to_several(options: Options, form: _Form, origins: list[_Place], target: _Place) -> int:
    from phoenix_ga.cli.tally import Outcome, ended
    from phoenix_ga.cli.voice import Voice

    assert target.endpoint is not None
    # A bar for each would be in the way of the others.
    display = _Display(options, shown=False)

    async def on_one(known: KnownGuest, voice: Voice) -> Outcome:
        async def show(values: dict[str, Any]) -> None:
            await voice.result(values, "")

        copying = _Copying(form, display, options.connect_among, show)
        return ended(await copying.copy_all(origins, replace(target, known=known)))

    return options.fan_out(select(target.endpoint), on_one)


@dataclass(frozen=True)
class _Form:
    """How it is to be copied; the options of `cp`."""

    recursive: bool
    owners: bool
    set_id: bool
    resume: bool
    verify: bool


class _Copying:
    """One run of `cp`: the connections that it has open. show: is given what is known of each copy."""

    def __init__(
        self,
        form: _Form,
        display: _Display,
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

    async def copy_all(self, origins: list[_Place], target: _Place) -> int:
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

    async def _copy(self, origin: _Place, target: _Place) -> None:
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

    async def _copy_file(self, origin: _Place, target: _Place, progress: Progress | None) -> Transferred:
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

    async def _copy_tree(self, origin: _Place, target: _Place, progress: Progress | None) -> TransferredTree:
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

    async def _is_directory(self, place: _Place) -> bool:
        guest = self._guest(place)
        return os.path.isdir(place.path) if guest is None else await _is_directory(guest, place.path)

    def _guest(self, place: _Place) -> Guest | None:
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


class _Display:
    """Shows how far a copy is, where somebody looks at a terminal, and at the end how fast it was."""

    def __init__(self, options: Options, shown: bool = True) -> None:
        self.json = options.json
        self._shown = shown and not options.json and not options.verbose and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._start = time.perf_counter()
        # Of the parts that are done, in bytes; and how many there are.
        self._done = 0
        self._parts = 0

    def __enter__(self) -> _Display:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._bar is None:
            return
        self._bar.stop()
        if kind is None and self._parts:
            seconds = max(time.perf_counter() - self._start, 1e-6)
            click.echo(f"{size(self._done)} in {seconds:.1f} s, {size(self._done / seconds)}/s", err=True)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Progress | None]:
        """Show one of the sources; the bar goes on from where those before it ended."""
        if self._bar is None:
            yield None
            return
        from rich.text import Text

        self._bar.console.print(Text(escape(name)))
        before = self._done

        def show(done: int, total: int | None) -> None:
            self._done = before + done
            self._bar.update(self._task, completed=self._done, total=None if total is None else before + total)

        yield show
        self._parts += 1
