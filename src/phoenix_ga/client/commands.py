"""The plain commands: one request and one answer or stream each. Everything else is built on them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from phoenix_ga.client.caller import UNSET, Caller, Unset, read_opened
from phoenix_ga.client.connection import ExpectedStream
from phoenix_ga.client.directory_entries import DirectoryEntries
from phoenix_ga.client.file_streams import DirectoryStream, FileStream
from phoenix_ga.client.generated.commands import (
    AgentCommands,
    FilesCommands,
    FilesystemsCommands,
    NetworkCommands,
    ProcessesCommands,
)
from phoenix_ga.client.models import Freeze, FreezeStatus
from phoenix_ga.client.opening import opens
from phoenix_ga.client.reader import Reader, ReadError
from phoenix_ga.client.streams import GuestStream
from phoenix_ga.wire.base64_text import encode_base64
from phoenix_ga.wire.commands import WINDOW_DEFAULT
from phoenix_ga.wire.declaration import INT64_MAX
from phoenix_ga.wire.patterns import path_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

# Each agent with `get-digests` has these, and some have `xxh64`.
_DIGESTS: Final = ("crc32", "sha256")


def _digests(reader: Reader) -> dict[str, int]:
    names = (*_DIGESTS, "xxh64") if reader.has("xxh64") else _DIGESTS
    return {name: reader.member(name).integer() for name in names}


class Files(FilesCommands):
    """Files and directories of the guest. Paths are absolute paths in the guest."""

    async def write_handle(self, handle: int, data: bytes, eof: bool = False) -> None:
        """Write to a file that was opened with `open_handle`.

        Args:
            eof: this is the last piece: flush it to the disk, and close the handle.
        """
        text = encode_base64(data).decode("ascii")
        await self._caller.read(Reader.true, "file-write", handle_id=handle, bufb64=text, eof=eof)

    async def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the paths in the guest that match a pattern, sorted; empty if none matches.

        Args:
            pattern: A path with the wildcards of a shell: `*`, `?`, `[...]`. A backslash makes the next character an
                ordinary one.

        Raises:
            ProtocolError: If the guest returns a path that does not match.
        """
        return await self._caller.read(lambda reader: _matching(reader, pattern), "file-glob", pattern=pattern)

    @opens
    async def get_stream(
        self,
        path: str,
        offset: int = 0,
        length: int = INT64_MAX,
        *,
        window: int = WINDOW_DEFAULT,
        digest: bool | str = True,
        sparse: bool = False,
        xattrs: bool = False,
    ) -> FileStream:
        """Open a stream of the content of a file. `Guest.get` copies a whole file.

        Args:
            offset, length: the part to send, in bytes.
            window: bytes that may be in flight.
            digest: the closing message has this digest: "xxh64", "crc32", "sha256" or True, "none" or False.
            sparse: leave out holes; `FileStream.read_piece` returns them as Skip.
            xattrs: get all extended attributes with their values, at most 64 KiB.
        """
        expected = ExpectedStream("stream", window, sends=False, skips=sparse)
        value, streams = await self._caller.open(
            (expected,),
            "file-get",
            path=path,
            offset=offset,
            length=length,
            window=window,
            digest=digest,
            sparse=sparse,
            xattrs=xattrs,
        )
        return await read_opened(lambda reader: FileStream.read_from(reader, streams["stream"]), value, streams)

    @opens
    async def put_stream(
        self,
        path: str,
        permissions: int | None = None,
        *,
        uid: int = -1,
        gid: int = -1,
        digest: bool | str = True,
        part: str = "",
        offset: int = 0,
        new_permissions: int = 0o644,
        mtime: int | None = None,
        xattrs: Mapping[bytes, bytes] | None = None,
        unless_changed: int | None = None,
    ) -> GuestStream:
        """Open a stream to a file, which appears when all data has arrived. `Guest.put` copies a whole file.

        Args:
            permissions: of the file; None: those of the file that it replaces.
            uid, gid: of the file; -1: those of the file that it replaces.
            digest: the closing message has this digest: "xxh64", "crc32", "sha256" or True, "none" or False.
            part: a name under which the guest keeps the data of an incomplete transfer.
            offset: bytes of the kept data to continue after.
            new_permissions: of a file that replaces none, if `permissions` is None.
            mtime: modification time, in nanoseconds since the epoch; None for the present.
            xattrs: extended attributes by name, besides those of the file that it replaces.
            unless_changed: fail with ESTALE unless this is `FileStatus.changed` of the file that is replaced; 0:
                there is none; None: replace any.
        """
        attributes = {
            name.decode("utf-8", "surrogateescape"): encode_base64(value).decode("ascii")
            for name, value in (xattrs or {}).items()
        }
        _, streams = await self._caller.open(
            (ExpectedStream("stream"),),
            "file-put",
            path=path,
            perm=-1 if permissions is None else permissions,
            uid=uid,
            gid=gid,
            digest=digest,
            part=part,
            offset=offset,
            new_perm=new_permissions,
            mtime=-1 if mtime is None else mtime,
            xattrs=attributes,
            unless_changed=-1 if unless_changed is None else unless_changed,
        )
        return streams["stream"]

    @opens
    async def scan(self, path: str, *, names: bool = False, window: int = WINDOW_DEFAULT) -> DirectoryEntries:
        """List a directory of any size, entry by entry, in the order of the filesystem.

            async with guest.files.scan("/var/spool") as entries:
                async for entry in entries: ...

        Args:
            names: also find the names of owner and group, and the targets of symbolic links.
            window: bytes that may be in flight.
        """
        expected = ExpectedStream("stream", window, sends=False)
        _, streams = await self._caller.open((expected,), "directory-entries", path=path, names=names, window=window)
        return DirectoryEntries(streams["stream"], names, self._caller.timeout)

    @opens
    async def tail(
        self, path: str, lines: int = 10, *, follow: bool = False, window: int = WINDOW_DEFAULT
    ) -> GuestStream:
        """Open a stream of the last lines of a regular file, and of what is appended to it later.

        Args:
            lines: how many to begin with.
            follow: go on when the file grows, from its beginning if it is truncated, and with the new file if
                another one gets its name.
            window: bytes that may be in flight.
        """
        expected = ExpectedStream("stream", window, sends=False)
        _, streams = await self._caller.open(
            (expected,), "file-tail", path=path, lines=lines, follow=follow, window=window
        )
        return streams["stream"]

    @opens
    async def find(
        self,
        path: str,
        *,
        name: str = "",
        types: str = "",
        depth: int = -1,
        minimum: int = 0,
        maximum: int = INT64_MAX,
        younger: int = 0,
        older: int = 0,
        one_filesystem: bool = False,
        window: int = WINDOW_DEFAULT,
    ) -> DirectoryEntries:
        """Search a directory for the files that meet all conditions. The names of the entries are their paths.

        Args:
            name: pattern for the last component, as `fnmatch` has them; empty: any.
            types: letters as in find(1), such as "fd" for regular files and directories; empty: any.
            depth: deepest level; 0: the path itself; -1: all.
            minimum, maximum: size in bytes.
            younger: modified less than this many seconds ago; 0: any time.
            older: modified more than this many seconds ago.
            one_filesystem: do not enter other filesystems.
            window: bytes that may be in flight.
        """
        return await self._walk(
            "directory-find",
            path=path,
            name=name,
            types=types,
            depth=depth,
            minimum=minimum,
            maximum=maximum,
            younger=younger,
            older=older,
            one_filesystem=one_filesystem,
            window=window,
        )

    @opens
    async def usage(
        self, path: str, *, depth: int = -1, one_filesystem: bool = False, window: int = WINDOW_DEFAULT
    ) -> DirectoryEntries:
        """Compute how much a directory and those in it take, inner ones first.

        The names of the entries are their paths; `size` and `blocks` are the sums of all that is in each.

        Args:
            depth: deepest level that is reported; 0: the path itself; -1: all.
            one_filesystem: leave out what other filesystems hold.
            window: bytes that may be in flight.
        """
        return await self._walk(
            "directory-usage", path=path, depth=depth, one_filesystem=one_filesystem, window=window
        )

    async def _walk(self, command: str, *, window: int, **arguments: Any) -> DirectoryEntries:
        expected = [ExpectedStream(name, window, sends=False) for name in ("stream", "stderr")]
        _, streams = await self._caller.open(expected, command, window=window, **arguments)
        # It may search for any time before it finds something.
        return DirectoryEntries(streams["stream"], False, None, streams["stderr"])

    @opens
    async def get_tree_stream(
        self, path: str, *, xattrs: bool = False, window: int = WINDOW_DEFAULT
    ) -> DirectoryStream:
        """Open a tar stream of a directory. `Guest.get_tree` unpacks one.

        Args:
            xattrs: with extended attributes.
            window: bytes that may be in flight.
        """
        expected = [ExpectedStream(name, window, sends=False) for name in ("stream", "stderr")]
        _, streams = await self._caller.open(expected, "directory-get", path=path, window=window, xattrs=xattrs)
        return DirectoryStream(streams["stream"], streams["stderr"])

    @opens
    async def put_tree_stream(
        self,
        path: str,
        *,
        owners: bool = False,
        set_id: bool = False,
        xattrs: Literal["none", "user", "all"] = "none",
        window: int = WINDOW_DEFAULT,
    ) -> DirectoryStream:
        """Open a tar stream that the guest unpacks below a directory. `Guest.put_tree` makes one.

        Args:
            owners: apply the numeric owners.
            set_id: apply set-user-ID and set-group-ID bits.
            xattrs: which extended attributes to apply: "user": those that users can set.
            window: bytes of the report that may be in flight.
        """
        expected = [ExpectedStream("stream", window, ends_both=True), ExpectedStream("stderr", window, sends=False)]
        _, streams = await self._caller.open(
            expected, "directory-put", path=path, owners=owners, set_id=set_id, window=window, xattrs=xattrs
        )
        return DirectoryStream(streams["stream"], streams["stderr"])


class Filesystems(FilesystemsCommands):
    """Freezing filesystems."""

    async def freeze(self, auto_thaw: int = -1, mountpoints: Sequence[str] = ()) -> Freeze:
        """Freeze filesystems, as `Guest.frozen` does, which also thaws them and checks that the freeze held.

        Args:
            auto_thaw: seconds until the agent thaws automatically; 0: never; -1: as configured.
            mountpoints: freeze only the filesystems that are mounted at these paths; empty: all.
        """
        return await self._caller.read(
            Freeze.read, "fs-freeze", timeout=auto_thaw, mountpoints=list(mountpoints), details=True
        )

    async def status(self) -> FreezeStatus:
        """Return whether filesystems are frozen, for how long, and how the last freeze ended."""
        return await self._caller.read(FreezeStatus.read, "get-freeze-status", details=True)


class Commands(AgentCommands):
    """The plain commands of a guest, in groups."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._caller.reconnector!r}>"

    @property
    def timeout(self) -> float | None:
        """The timeout of each call, in seconds; None: no limit."""
        return self._caller.timeout

    def with_timeout(self, timeout: float | None) -> Self:
        """Return the same guest, over the same connection, with another timeout.

        Args:
            timeout: of each call, in seconds; None: no limit.
        """
        return type(self)(Caller(self._caller.reconnector, timeout))

    async def call(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float | Unset | None = UNSET
    ) -> Any:
        """Run any command, also one of the QEMU dialect (`guest-...`), and return its JSON result, unchecked.

        Args:
            arguments: by their names on the wire.
            timeout: in seconds; None: no limit; by default that of the guest.
        """
        return await self._caller.call(command, arguments, timeout)

    async def digests(self) -> dict[str, int]:
        """Return the digests with which the guest can verify a transfer, with their speed in MB/s.

        The agent is asked once for each connection.
        """
        connection = await self._caller.connection("get-digests", {})
        if connection.digests is None:
            connection.digests = await self._caller.read(_digests, "get-digests")
        return dict(connection.digests)

    @cached_property
    def files(self) -> Files:
        """Files and directories."""
        return Files(self._caller)

    @cached_property
    def filesystems(self) -> Filesystems:
        """Freezing filesystems."""
        return Filesystems(self._caller)

    @cached_property
    def network(self) -> NetworkCommands:
        """Interfaces, addresses and routes."""
        return NetworkCommands(self._caller)

    @cached_property
    def processes(self) -> ProcessesCommands:
        """Programs that `exec` started."""
        return ProcessesCommands(self._caller)


def _matching(reader: Reader, pattern: str) -> tuple[str, ...]:
    paths = reader.texts()
    # Else a guest could choose the names of the files that `cp` creates on the host.
    if not all(path_matches(pattern, path) for path in paths):
        raise ReadError("the answer has a path that does not match the pattern")
    return paths
