"""Commands on files and directories."""

from __future__ import annotations

from phoenix_ga.wire.commands.shared import (
    EXAMPLE_FILE,
    ID_MAX,
    NO_FILE,
    PATH,
    PERMISSIONS_MAX,
    TOO_MANY_STREAMS,
    WINDOW,
)
from phoenix_ga.wire.declaration import INT64_MAX, Argument, Command, Example, StreamMember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The most that fits into one answer well below the line limits of clients.
READ_COUNT_MAX: Final = 4 * 1024 * 1024
READ_COUNT_DEFAULT: Final = 4096

_HANDLE = Argument("handle_id", int, "Handle returned by `file-open`.", python="handle")
_NAMES = Argument(
    "names",
    bool,
    "Add `user` and `group`, the names of the owner and group, and `target`, the target of a symbolic link. Each "
    "is empty if there is none.",
    default=False,
)
_DIRECTORY = ("EISDIR", "the path is a directory")
_NO_USER = ("EINVAL", "the guest has no user or group of this name")
_NO_HANDLE = ("EBADF", "the handle is not open, or not for this direction")
_DEPTH = Argument("depth", int, "Deepest level, 0 being the path itself; -1: all.", default=-1, minimum=-1)
_ONE_FILESYSTEM = Argument("one_filesystem", bool, "Leave out what other filesystems hold.", default=False)
_WALK = (
    "`stream` and `stderr`: the numbers of two streams. `stderr` has a line `missing: NAME: REASON` for each "
    "directory that could not be read, at most a hundred. Closing message of the agent on `stream`: `status`, 0 if "
    "everything was read, 1 if something is missing, 2 if the helper gave up; or `signal`. The client sends no data. "
)
_NO_DIGEST = ("EINVAL", "the path is a FIFO, a socket or a character device")

_EXAMPLE_STAT = {
    "name": "hello.txt",
    "isdir": False,
    "stat": {
        "Dev": 65024,
        "Ino": 131,
        "Nlink": 1,
        "Mode": 33184,
        "Uid": 0,
        "Gid": 0,
        "Rdev": 0,
        "Size": 13,
        "Blksize": 4096,
        "Blocks": 8,
        "Atim": {"Sec": 1767225600, "Nsec": 0},
        "Mtim": {"Sec": 1767225600, "Nsec": 0},
        "Ctim": {"Sec": 1767225600, "Nsec": 0},
    },
}

COMMANDS = (
    Command(
        "directory-create",
        "Create a directory and its missing parents. An existing directory is left as it is.",
        operation="files:make_directory",
        method="files.mkdir",
        result="None",
        arguments=(
            PATH,
            Argument(
                "perm",
                int,
                "Permissions, in decimal: 493 is 0755. The umask is ignored. Missing parents get 0755.",
                default=0o755,
                maximum=PERMISSIONS_MAX,
                python="permissions",
            ),
            Argument(
                "parents",
                bool,
                "Create missing parents, and accept an existing directory. Otherwise, both are errors.",
                default=True,
            ),
        ),
        errors=(
            ("ENOTDIR", "a component of the path is not a directory"),
            ("EEXIST", "the path exists and is not a directory, or `parents` is false"),
            ("ENOENT", "the parent does not exist, and `parents` is false"),
        ),
        examples=(
            Example({"path": "/tmp/phoenix/site"}, True),
            Example({"path": "/tmp/phoenix", "perm": 493}, True),
            Example({"path": "/tmp/phoenix/site/new", "parents": False}, True),
        ),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-open",
        "Open a file for `file-read` or `file-write`. The handle stays valid after the connection ends, until "
        "`file-close`. Opening never blocks: a FIFO without a peer can be opened for reading, but not for writing.",
        handler="files:file_open",
        method="files.open_handle",
        result="int",
        arguments=(
            PATH,
            Argument(
                "mode",
                str,
                "`r`: read; `w`: write, after creating or truncating the file.",
                default="r",
                choices=("r", "w"),
            ),
            Argument(
                "perm",
                int,
                "Permissions of a created file, in decimal: 420 is 0644.",
                default=0o644,
                maximum=PERMISSIONS_MAX,
                python="permissions",
            ),
            Argument(
                "force",
                bool,
                "If the file is a running program (ETXTBSY), remove it and create a new file.",
                default=False,
            ),
        ),
        returns="The handle, an integer.",
        errors=(
            NO_FILE,
            _DIRECTORY,
            ("ETXTBSY", "the file is a running program, and `force` is false"),
            ("ENXIO", "the file is a FIFO without a reader, and `mode` is `w`"),
            ("EMFILE", "too many handles are open"),
        ),
        examples=(Example({"path": EXAMPLE_FILE, "mode": "w", "perm": 416}, 1000, exact=False),),
        changes=("mode", "w"),
        full_access=True,
    ),
    Command(
        "file-write",
        "Write to a file opened with `w`. With `eof`, this is the last piece: the file is synced to disk and the "
        "handle is closed. Without it, the answer means that the kernel has the data.",
        handler="files:file_write",
        arguments=(
            _HANDLE,
            Argument("bufb64", str, "The data, in base64. It may contain line breaks.", python="data"),
            Argument("eof", bool, "This is the last piece: close the handle.", default=False),
        ),
        errors=(
            _NO_HANDLE,
            ("EINVAL", "`bufb64` is not base64"),
            ("ENOSPC", "the filesystem is full; the file holds part of the data, and the handle stays open"),
        ),
        examples=(Example({"handle_id": 1000, "bufb64": "SGVsbG8sIHdvcmxkIQ==", "eof": True}, True),),
        handle="handle_id",
        full_access=True,
    ),
    Command(
        "file-read",
        "Read the next piece of a file opened with `r`. At the end of the file the handle is closed.",
        handler="files:file_read",
        method="files.read_handle",
        result="FilePiece",
        arguments=(
            _HANDLE,
            Argument(
                "count",
                int,
                "Maximum number of bytes to read.",
                default=READ_COUNT_DEFAULT,
                minimum=1,
                maximum=READ_COUNT_MAX,
            ),
        ),
        returns="`bufb64`: the data, in base64. `eof`: whether the end was reached; if so, there is no data, and the "
        "handle is closed.",
        errors=(_NO_HANDLE, ("EAGAIN", "a FIFO or a device has no data yet")),
        examples=(
            Example({"handle_id": 1000}, {"bufb64": "SGVsbG8sIHdvcmxkIQ==", "eof": False}, opens=EXAMPLE_FILE),
            Example({"handle_id": 1000, "count": 65536}, {"bufb64": "", "eof": True}),
        ),
        nowait="file_read_nowait",
        handle="handle_id",
        full_access=True,
    ),
    Command(
        "file-close",
        "Close a handle. A file that was written is on disk when the answer arrives.",
        handler="files:file_close",
        method="files.close_handle",
        result="None",
        arguments=(_HANDLE,),
        errors=(_NO_HANDLE, ("EIO", "the data could not be written; the handle is closed nevertheless")),
        examples=(Example({"handle_id": 1000}, True, opens=EXAMPLE_FILE),),
        handle="handle_id",
        full_access=True,
    ),
    Command(
        "get-file-md5sum",
        "Compute the MD5 digest of a regular file or a block device, following symbolic links.",
        handler="files:get_file_md5sum",
        method="files.md5",
        result="str",
        arguments=(PATH,),
        returns="The digest, in hexadecimal.",
        errors=(NO_FILE, _DIRECTORY, _NO_DIGEST),
        examples=(Example({"path": EXAMPLE_FILE}, "6cd3556deb0da54bca060b4c39479839"),),
    ),
    Command(
        "get-file-sha256sum",
        "Compute the SHA-256 digest of a regular file or a block device, following symbolic links.",
        handler="files:get_file_sha256sum",
        method="files.sha256",
        result="str",
        arguments=(
            PATH,
            Argument("length", int, "Number of bytes to hash, from the start of the file.", default=INT64_MAX),
        ),
        returns="The digest, in hexadecimal.",
        errors=(NO_FILE, _DIRECTORY, _NO_DIGEST),
        examples=(
            Example({"path": EXAMPLE_FILE}, "315f5bdb76d078c43b8ac0064e4a0164612b1fce77c869345bfc94c75894edd3"),
        ),
    ),
    Command(
        "file-chown",
        "Change the owner and group of a file, following symbolic links.",
        operation="owners:change_owner",
        method="files.chown",
        result="None",
        arguments=(
            PATH,
            Argument("uid", int, "Numeric owner; -1: unchanged.", default=0, minimum=-1, maximum=ID_MAX),
            Argument("gid", int, "Numeric group; -1: unchanged.", default=0, minimum=-1, maximum=ID_MAX),
            Argument("user", str, "Name or number of the owner, instead of `uid`.", default=""),
            Argument("group", str, "Name or number of the group, instead of `gid`.", default=""),
        ),
        errors=(NO_FILE, _NO_USER, ("EPERM", "the agent lacks the privilege")),
        examples=(
            Example({"path": EXAMPLE_FILE, "uid": 0, "gid": 0}, True),
            Example({"path": EXAMPLE_FILE, "user": "root", "gid": -1}, True),
        ),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-chmod",
        "Change the permissions of a file, following symbolic links.",
        operation="files:change_mode",
        method="files.chmod",
        result="None",
        arguments=(
            PATH,
            Argument(
                "perm", int, "Permissions, in decimal: 420 is 0644.", maximum=PERMISSIONS_MAX, python="permissions"
            ),
        ),
        errors=(NO_FILE,),
        examples=(Example({"path": EXAMPLE_FILE, "perm": 416}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-remove",
        "Remove a file, a symbolic link or an empty directory.",
        operation="removal:remove",
        method="files.remove",
        result="None",
        arguments=(
            PATH,
            Argument(
                "recursive",
                bool,
                "Remove a directory with its contents. Symbolic links in it are removed, not followed.",
                default=False,
            ),
        ),
        errors=(
            NO_FILE,
            ("ENOTEMPTY", "the directory is not empty"),
            ("EBUSY", "the path is the root directory or a mount point"),
        ),
        examples=(Example({"path": "/tmp/phoenix/site/new"}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-glob",
        "Return the paths that match a pattern, sorted.",
        handler="files:file_glob",
        arguments=(
            Argument(
                "pattern",
                str,
                "A path with the wildcards of a shell: `*`, `?`, `[...]`. They match neither a slash nor a dot at "
                "the beginning of a name. A backslash makes the next character an ordinary one.",
            ),
        ),
        returns="List of paths; empty if none matches. Directories that cannot be read have no matches.",
        errors=(("E2BIG", "the paths have more than 4 MiB"),),
        examples=(Example({"pattern": "/tmp/phoenix/h*.t[xyz]t"}, ["/tmp/phoenix/hello.txt"]),),
    ),
    Command(
        "file-rename",
        "Rename a file or directory, in one step. An existing target is replaced, as rename(2) does.",
        operation="files:rename",
        method="files.rename",
        result="None",
        arguments=(PATH, Argument("target", str, "The new path, on the same filesystem.")),
        errors=(
            NO_FILE,
            ("EXDEV", "the paths are on different filesystems"),
            ("EISDIR", "the target is a directory, and the path is not"),
            ("ENOTDIR", "the path is a directory, and the target is not"),
            ("ENOTEMPTY", "the target is a directory that is not empty"),
        ),
        examples=(Example({"path": "/tmp/phoenix/site", "target": "/tmp/phoenix/site.old"}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-truncate",
        "Set the size of an existing file. Data beyond it is lost; a file that grows gets a hole.",
        operation="files:truncate",
        method="files.truncate",
        result="None",
        arguments=(PATH, Argument("size", int, "The new size, in bytes.")),
        errors=(
            NO_FILE,
            _DIRECTORY,
            ("EINVAL", "the path is not a regular file"),
            ("EFBIG", "the size is too large"),
        ),
        examples=(Example({"path": "/tmp/phoenix/hello.txt", "size": 13}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-link",
        "Make a hard or symbolic link.",
        operation="files:link",
        method="files.link",
        result="None",
        arguments=(
            Argument("path", str, "Absolute path of the new link."),
            Argument("target", str, "The file that gets another name, or the text of a symbolic link."),
            Argument("symbolic", bool, "Make a symbolic link.", default=False),
            Argument("replace", bool, "Replace an existing file in one step.", default=False),
        ),
        errors=(
            ("EEXIST", "the path exists, and `replace` is false"),
            ("EISDIR", "the path is a directory"),
            ("ENOENT", "the target of a hard link, or the directory of the path, does not exist"),
            ("EXDEV", "the paths of a hard link are on different filesystems"),
            ("EPERM", "the target of a hard link is a directory"),
        ),
        examples=(
            Example({"path": "/tmp/phoenix/hello", "target": "hello.txt", "symbolic": True, "replace": True}, True),
        ),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-touch",
        "Set the access and modification time of a file, following symbolic links.",
        operation="files:touch",
        method="files.touch",
        result="None",
        arguments=(
            PATH,
            Argument(
                "mtime",
                int,
                "The time, in nanoseconds since the epoch; -1: the present.",
                default=-1,
                minimum=-INT64_MAX,
                python="modified",
            ),
            Argument("create", bool, "Create a missing file, empty, with permissions 0644.", default=True),
        ),
        errors=(("ENOENT", "the path does not exist, and `create` is false; or its directory does not exist"),),
        examples=(Example({"path": EXAMPLE_FILE}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "file-stat",
        "Return the status of a path, as lstat(2) does: a symbolic link is not followed.",
        handler="files:file_stat",
        method="files.stat",
        result="FileStatus",
        arguments=(
            PATH,
            Argument("follow", bool, "Follow a symbolic link, as stat(2) does.", default=False),
            _NAMES,
        ),
        returns="`name`: the last component of the path. `isdir`: whether it is a directory. `stat`: the members of "
        "struct stat.",
        errors=(NO_FILE,),
        examples=(
            Example({"path": EXAMPLE_FILE}, _EXAMPLE_STAT, exact=False),
            Example(
                {"path": EXAMPLE_FILE, "names": True},
                {**_EXAMPLE_STAT, "user": "root", "group": "root", "target": ""},
                exact=False,
            ),
        ),
    ),
    Command(
        "directory-list",
        "List a directory in the order of the filesystem, without `.` and `..`.",
        handler="files:directory_list",
        method="files.list",
        result="tuple[FileStatus, ...]",
        arguments=(
            PATH,
            Argument(
                "n",
                int,
                "Maximum number of entries; 0 or less: all, up to the agent's `listing-limit`.",
                default=0,
                minimum=-INT64_MAX - 1,
                python="limit",
            ),
            _NAMES,
        ),
        returns="List of objects as returned by `file-stat`. Entries that vanish during the listing are left out.",
        errors=(
            NO_FILE,
            ("ENOTDIR", "the path is not a directory"),
            ("E2BIG", "the list would exceed the agent's `listing-limit`, or the size of one answer"),
        ),
        examples=(Example({"path": "/tmp/phoenix", "n": 1}, [_EXAMPLE_STAT], exact=False),),
    ),
    Command(
        "directory-entries",
        "Send the entries of a directory as a stream, in the order of the filesystem, without `.` and `..`. A large "
        "directory takes no more memory than a small one.",
        handler="files:directory_entries",
        arguments=(PATH, _NAMES, WINDOW),
        returns="`stream`: its number. Each line of the stream is a JSON array: the name, then the numbers in `stat` "
        "of `file-stat` in their order, with times in nanoseconds since the epoch; with `names`, user, group and "
        "target follow. Entries that vanish meanwhile are left out. The client sends no data.",
        errors=(NO_FILE, ("ENOTDIR", "the path is not a directory"), TOO_MANY_STREAMS),
        examples=(Example({"path": "/tmp/phoenix", "window": 0}, {"stream": 70018}, exact=False),),
    ),
    Command(
        "file-tail",
        "Send the last lines of a regular file as a stream, and what is appended to it later.",
        handler="files:file_tail",
        arguments=(
            PATH,
            Argument("lines", int, "Number of lines at the end of the file to begin with.", default=10),
            Argument(
                "follow",
                bool,
                "Go on when the file grows, from its beginning if it is truncated, and with the new file if "
                "another one gets its name. The kernel reports changes, but not those that other clients of a "
                "network filesystem make.",
                default=False,
            ),
            WINDOW,
        ),
        returns="`stream`: its number. Without `follow`, it ends at the end of the file; otherwise when the client "
        "resets it. The client sends no data. Lines are searched in the last 64 MiB only.",
        errors=(
            NO_FILE,
            ("EINVAL", "the path is not a regular file"),
            ("EMFILE", "the kernel has no inotify instance left"),
            ("ENOSPC", "the kernel has no inotify watch left"),
            TOO_MANY_STREAMS,
        ),
        examples=(Example({"path": EXAMPLE_FILE, "window": 0}, {"stream": 70023}, exact=False),),
        streams=(StreamMember("stream"),),
        full_access=True,
    ),
    Command(
        "directory-find",
        "Send the paths below a directory that meet all conditions, found by a helper process. Symbolic links are "
        "not followed, except the path itself.",
        handler="files:directory_find",
        arguments=(
            PATH,
            _DEPTH,
            _ONE_FILESYSTEM,
            Argument(
                "name",
                str,
                "Pattern for the last component: `*`, `?`, `[...]`, of which `*` also matches a dot at the "
                "beginning. Empty: any.",
                default="",
            ),
            Argument(
                "types",
                str,
                "Letters of the accepted types, as in find(1): `f` regular file, `d` directory, `l` symbolic link, "
                "`b` and `c` devices, `p` FIFO, `s` socket. Empty: any.",
                default="",
            ),
            Argument("minimum", int, "Smallest size, in bytes.", default=0),
            Argument("maximum", int, "Largest size, in bytes.", default=INT64_MAX),
            Argument("younger", int, "Modified less than this many seconds ago; 0: any time.", default=0),
            Argument("older", int, "Modified more than this many seconds ago.", default=0),
            WINDOW,
        ),
        returns=_WALK + "Each line of `stream` is a JSON array as in `directory-entries`, with the path in place of "
        "the name.",
        errors=(NO_FILE, TOO_MANY_STREAMS),
        examples=(Example({"path": "/tmp/phoenix", "window": 0}, {"stream": 70019, "stderr": 70020}, exact=False),),
        streams=(StreamMember("stream"), StreamMember("stderr")),
    ),
    Command(
        "directory-usage",
        "Compute how much a directory and its contents take, by a helper process. Symbolic links are not followed, "
        "except the path itself, and files with several links count once.",
        handler="files:directory_usage",
        arguments=(PATH, _DEPTH, _ONE_FILESYSTEM, WINDOW),
        returns=_WALK
        + "Each line of `stream` is a JSON array as in `directory-entries`, for the directory and those "
        "in it down to `depth`, inner ones first: with the path in place of the name, and the sums of the sizes and "
        "of the blocks of all that is in it.",
        errors=(NO_FILE, TOO_MANY_STREAMS),
        examples=(Example({"path": "/tmp/phoenix", "window": 0}, {"stream": 70021, "stderr": 70022}, exact=False),),
        streams=(StreamMember("stream"), StreamMember("stderr")),
    ),
)
