"""Commands that copy files and directories as streams."""

from __future__ import annotations

from phoenix_ga.wire.commands.shared import (
    EXAMPLE_FILE,
    ID_MAX,
    NO_FILE,
    PATH,
    PATH_HELP,
    PERMISSIONS_MAX,
    TOO_MANY_STREAMS,
    WINDOW,
)
from phoenix_ga.wire.declaration import INT64_MAX, Argument, Command, Example, StreamMember

_DIGEST = Argument(
    "digest",
    bool,
    'The digest that both sides compute for the closing messages: `"xxh64"`, `"crc32"`, `"sha256"` or `"none"`; '
    "`true` is `sha256`, and `false` is `none`. `get-digests` lists those that the guest has.",
    default=True,
    words=("xxh64", "crc32", "sha256", "none"),
)
_NO_DIGEST = ("EOPNOTSUPP", "the guest has no such digest")
_NO_DIRECTORY = ("ENOTDIR", "the path is not a directory")

COMMANDS = (
    Command(
        "file-get",
        "Send a regular file or a block device as a stream.",
        handler="transfers:file_get",
        arguments=(
            PATH,
            Argument("offset", int, "Position of the first byte.", default=0),
            Argument("length", int, "Maximum number of bytes.", default=INT64_MAX, minimum=1),
            WINDOW,
            _DIGEST,
            Argument("sparse", bool, "Send holes as SKIP frames; the client must support them.", default=False),
            Argument("xattrs", bool, "Answer with all extended attributes and their values.", default=False),
        ),
        returns="`stream`: its number; `size`: of the file, in bytes; `mode`: its permissions; `uid`, `gid`: its "
        "owner; `mtime`: in nanoseconds since the epoch; `xattrs`: an object with the names of its extended "
        "attributes and their values in base64, or without the argument, with the names of user attributes, access "
        "control lists and capabilities, and null. Closing message of the agent: `size`, the number of bytes "
        "sent, and, with a digest, a member with its name and its value in hexadecimal. The client sends no data. "
        "If the file becomes shorter meanwhile, the stream is reset (`ESTALE`); if it grows, it is sent up to its "
        "new end.",
        errors=(
            NO_FILE,
            ("ESPIPE", "the path is neither a regular file nor a block device"),
            ("E2BIG", "its extended attributes take more than 64 KiB"),
            _NO_DIGEST,
            TOO_MANY_STREAMS,
        ),
        examples=(
            Example(
                {"path": EXAMPLE_FILE, "window": 0},
                {
                    "size": 13,
                    "mode": 416,
                    "uid": 0,
                    "gid": 0,
                    "mtime": 1767225600000000000,
                    "xattrs": {},
                    "stream": 70007,
                },
                exact=False,
            ),
        ),
        streams=(StreamMember("stream"),),
        full_access=True,
    ),
    Command(
        "file-put",
        "Receive a file as a stream. It replaces `path` once it is complete, its digest matches, and it is on disk. "
        "If anything fails before, nothing changes. A file that is replaced passes on its owner, permissions, access "
        "control list, SELinux label and other extended attributes, but not set-ID bits and capabilities.",
        handler="transfers:file_put",
        arguments=(
            Argument("path", str, PATH_HELP + " If it is a symbolic link, its target is replaced."),
            Argument(
                "perm",
                int,
                "Permissions, in decimal; -1: those of the replaced file, or `new_perm` if there is none.",
                default=-1,
                minimum=-1,
                maximum=PERMISSIONS_MAX,
                python="permissions",
            ),
            Argument(
                "uid",
                int,
                "Numeric owner; -1: that of the replaced file.",
                default=-1,
                minimum=-1,
                maximum=ID_MAX,
            ),
            Argument(
                "gid",
                int,
                "Numeric group; -1: that of the replaced file.",
                default=-1,
                minimum=-1,
                maximum=ID_MAX,
            ),
            _DIGEST,
            Argument(
                "part",
                str,
                "A name of at most 32 letters, digits and hyphens: if the transfer fails, keep the received data as "
                "`.NAME.PART.phoenix-part` in the same directory. Empty: keep nothing.",
                default="",
            ),
            Argument("offset", int, "Continue the kept part after this many bytes.", default=0),
            Argument(
                "new_perm",
                int,
                "Permissions of a file that replaces none, if `perm` is -1, in decimal: 420 is 0644.",
                default=0o644,
                maximum=PERMISSIONS_MAX,
                python="new_permissions",
            ),
            Argument(
                "mtime",
                int,
                "Modification time, in nanoseconds since the epoch; -1: the present.",
                default=-1,
                minimum=-INT64_MAX,
            ),
            Argument(
                "xattrs",
                dict,
                "Extended attributes that it gets besides those of the replaced file, by name, in base64; at most "
                "256, of 64 KiB in total.",
                default={},
            ),
            Argument(
                "unless_changed",
                int,
                "Replace only a file whose status (its content, name, owner or permissions) changed last at this "
                "time: its `Ctim`, in nanoseconds since the epoch; 0: replace none; -1: any.",
                default=-1,
                minimum=-1,
            ),
        ),
        returns="`stream`: its number; `window`: the number of bytes that the client may send at first. Closing "
        "message of the client: `size`, and a member with the name of the digest and its value in hexadecimal; both "
        "may be left out. "
        "Closing message of the agent, once the file is in place: the same members.",
        errors=(
            ("EISDIR", "the path is a directory"),
            ("EINVAL", "the path exists and is not a regular file, or there is an `offset` and no `part`"),
            ("ENOENT", "the directory does not exist"),
            ("ENODATA", "the kept part is shorter than `offset`"),
            ("EBUSY", "another transfer is writing the same part"),
            ("ESTALE", "`unless_changed` is not met; also when the file is complete, as a reset of the stream"),
            _NO_DIGEST,
            TOO_MANY_STREAMS,
        ),
        examples=(Example({"path": "/tmp/phoenix/put.txt"}, {"window": 1048576, "stream": 70008}, exact=False),),
        changes=True,
        streams=(StreamMember("stream", sends=True),),
        full_access=True,
    ),
    Command(
        "directory-get",
        "Send a directory and its contents as a tar stream (PAX), made by a helper process. Symbolic links are not "
        "followed. Sockets, and files that vanish meanwhile, are left out. Extended attributes of files and "
        "directories are records `SCHILY.xattr.NAME`, as GNU tar writes them.",
        handler="transfers:directory_get",
        arguments=(PATH, WINDOW, Argument("xattrs", bool, "Send extended attributes.", default=False)),
        returns="`stream`: its number; `stderr`: the number of a text stream with a line for each entry that was "
        "left out (`note: NAME: REASON`) or could not be read (`missing: NAME: REASON`), at most a hundred. Closing "
        "message of the agent on `stream`: `status`, 0 if everything was sent, 1 if something is missing, 2 if the "
        "helper gave up; or `signal`, the signal that killed it. The client sends no data.",
        errors=(NO_FILE, _NO_DIRECTORY, TOO_MANY_STREAMS),
        examples=(Example({"path": "/tmp/phoenix", "window": 0}, {"stream": 70014, "stderr": 70015}, exact=False),),
        streams=(StreamMember("stream"), StreamMember("stderr")),
        full_access=True,
    ),
    Command(
        "directory-put",
        "Unpack a tar stream (PAX) below a directory. A missing directory is created, with its parents. Each file "
        "appears once it is complete. Nothing outside the directory can be reached: symbolic links are not followed, "
        "and a name with `..` ends the transfer. Existing directories keep their permissions.",
        handler="transfers:directory_put",
        arguments=(
            PATH,
            Argument("owners", bool, "Restore numeric owners, if the agent is root.", default=False),
            Argument("set_id", bool, "Restore the set-user-ID and set-group-ID bits.", default=False),
            WINDOW,
            Argument(
                "xattrs",
                str,
                'Extended attributes to restore: `"none"`; `"user"`: those of users and access control lists; '
                '`"all"`: also capabilities and others that only root can set.',
                default="none",
                choices=("none", "user", "all"),
            ),
        ),
        returns="`stream`: its number; `window`: the number of bytes that the client may send at first; `stderr`: as "
        "for `directory-get`. The client ends the stream after the end-of-archive marker. Closing message of the "
        "agent, once everything is on disk: `status` or `signal`, as for `directory-get`.",
        errors=(_NO_DIRECTORY, ("EACCES", "the directory cannot be created"), TOO_MANY_STREAMS),
        examples=(
            Example(
                {"path": "/tmp/phoenix/tree", "window": 0},
                {"window": 131072, "stream": 70016, "stderr": 70017},
                exact=False,
            ),
        ),
        changes=True,
        streams=(StreamMember("stream", sends=True, ends_both=True), StreamMember("stderr")),
        full_access=True,
    ),
    Command(
        "sftp",
        "Start a server of the SSH File Transfer Protocol, version 3, as a helper process. It has the extensions "
        "of OpenSSH's server: posix-rename, statvfs, fstatvfs, hardlink, fsync, lsetstat, limits, expand-path, "
        "copy-data and users-groups-by-id.",
        handler="transfers:sftp",
        arguments=(
            Argument(
                "user", str, "The user whose rights and home it has, as for `exec`; empty: the agent's.", default=""
            ),
            Argument("read_only", bool, "Refuse all requests that change a file.", default=False),
            WINDOW,
        ),
        returns="`pid`; `stream`, on which packets of the protocol are sent both ways, beginning with the client's; "
        "`stderr`: the number of a text stream; `window`: as for `exec`. Closing message of the agent on `stream`: "
        "`status` or `signal`, as for `exec`. The server ends when the client ends its direction.",
        errors=(
            ("ENOENT", "the user does not exist"),
            ("EPERM", "the agent may not run programs as this user"),
            TOO_MANY_STREAMS,
        ),
        examples=(
            Example({"window": 0}, {"pid": 4713, "window": 131072, "stream": 70024, "stderr": 70025}, exact=False),
        ),
        changes=True,
        streams=(StreamMember("stream", sends=True, ends_both=True), StreamMember("stderr")),
        full_access=True,
    ),
)
