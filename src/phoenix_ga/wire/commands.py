"""The commands of the Phoenix dialect, each declared once.

The argument checks, `get-commands`, the policy's names, docs/commands.md and the completion all
come from this table. Add a command by adding a row here and its handler in
`phoenix_ga.agent.dialects.native`.
"""

from __future__ import annotations

from phoenix_ga.wire.declaration import INT64_MAX, Argument, Command, Example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# As much as one answer carries while staying well below the line limits that clients have.
READ_COUNT_MAX: Final = 4 * 1024 * 1024
READ_COUNT_DEFAULT: Final = 4096
PERMISSIONS_MAX: Final = 0o7777
ID_MAX: Final = 2**32 - 2
# What a receiver grants where nothing else is said, and the most that it may at once, in bytes.
WINDOW_DEFAULT: Final = 1024 * 1024
WINDOW_MAX: Final = 16 * 1024 * 1024
AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_INET6: Final = 10

_HANDLE = Argument("handle_id", int, "The handle that `file-open` returned.", python="handle")
_PATH = "Absolute path in the guest."
_IFNAME = Argument("ifname", str, "Name of the interface, such as `eth0`.", python="interface")
_CIDR = Argument("ip", str, "IPv4 or IPv6 address and prefix length, such as `192.0.2.10/24`.")

_WINDOW = Argument(
    "window",
    int,
    "How many bytes the agent may send on each stream before more are granted.",
    default=WINDOW_DEFAULT,
    maximum=WINDOW_MAX,
)
_DIGEST = Argument("digest", bool, "Compare the SHA-256 of both sides at the end.", default=True)
_ROWS = Argument("rows", int, "Height of the terminal, in characters.", default=24, minimum=1, maximum=65535)
_COLUMNS = Argument("columns", int, "Width of the terminal, in characters.", default=80, minimum=1, maximum=65535)
_PID = Argument("pid", int, "The process ID that `exec` returned.", minimum=1, maximum=2**31 - 1)
_HOST = Argument("host", str, "Name or address, as the guest sees it.", default="")
_PORT = Argument("port", int, "TCP port.", default=0, maximum=65535)
_SOCKET_PATH = Argument("path", str, "Path of a Unix socket, instead of `host` and `port`.", default="")

_NAMES = Argument(
    "names",
    bool,
    "Add `user` and `group`, the names of owner and group, and `target`, what a symbolic link holds; each is empty "
    "where there is none.",
    default=False,
)

_NO_PROCESS = ("ESRCH", "no process that `exec` started and that still runs has this number")
_TOO_MANY_STREAMS = ("EAGAIN", "too many streams are open")
_NO_FILE = ("ENOENT", "there is no such file or directory")
_NO_USER = ("EINVAL", "the guest knows no user or group of this name")
_NO_HANDLE = ("EBADF", "the handle is not open, or not for this direction")
_NO_INTERFACE = ("ENODEV", "there is no such interface")
_NO_ADDRESS = ("EINVAL", "an address or prefix is malformed, or they are not of one family")
_CHANGING = ("EAGAIN", "what the kernel lists kept changing; ask again")

_EXAMPLE_FILE = "/tmp/phoenix/hello.txt"
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

_ROUTE_ARGUMENTS = (
    _IFNAME,
    Argument(
        "dst",
        str,
        "Destination prefix, such as `198.51.100.0/24`; without a length, one host; `0.0.0.0/0`, `::/0`, or "
        "`default`, of the family of `gateway` or `src`, else IPv4.",
        python="destination",
    ),
    Argument("src", str, "Preferred source address; empty: not given.", default="", python="source"),
    Argument("gateway", str, "Address of the next hop; empty: not given.", default=""),
    Argument(
        "scope",
        int,
        "Scope as in rtnetlink(7): 0 universe, 253 link, 254 host; IPv6 has none.",
        default=0,
        maximum=255,
    ),
)

COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        "ping",
        "Tell that the agent is there.",
        handler="agent:ping",
        method="ping",
        result="str",
        returns="The agent's version, a string.",
        examples=(Example({}, "1.0.0", exact=False),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "sync",
        "Start a conversation on a port that may still hold what an earlier client left.\n\n"
        "The answer is preceded by the byte 0xFF, which no JSON text holds: drop everything up to it. "
        "Answers that were due to whoever used the port before are never sent.",
        handler="agent:sync",
        arguments=(Argument("id", int, "Any number; a random one tells this answer from an older one."),),
        returns="The `id` that was given.",
        examples=(Example({"id": 271828}, 271828),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "get-commands",
        "List the commands that this agent would run now: those that its policy allows.",
        handler="agent:get_commands",
        method="commands",
        result="tuple[str, ...]",
        returns="List of command names, sorted, deprecated names included.",
        examples=(Example({}, ["agent-shutdown", "directory-create"], exact=False),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "agent-shutdown",
        "Stop the agent. What it acknowledged is finished and frozen filesystems are thawed first; then it "
        "exits with status 0, and a service manager starts it again.",
        handler="agent:agent_shutdown",
        method="shutdown_agent",
        result="None",
        examples=(Example({}, True),),
        changes=True,
        while_frozen=True,
        inline=True,
    ),
    Command(
        "sysinfo",
        "Describe the system: kernel, load, memory, who is logged in, and the disks.",
        handler="system:sysinfo",
        method="sysinfo",
        result="SystemInformation",
        returns="Object with `uname`, `long_bit`, `uptime` (seconds), `loadavg`, `ram` and `swap` (KiB), `users` "
        "(`login_time` in seconds since the epoch) and `disks` (sizes in KiB, of the filesystem that is mounted; "
        "0 where none is). A disk that carries a mounted filesystem through partitions, LVM, LUKS or RAID is "
        "itself shown with that mount point; where it carries several, with `/` or else the one at the shortest "
        "path.",
        examples=(
            Example(
                {},
                {
                    "uname": {
                        "sysname": "Linux",
                        "nodename": "web1",
                        "release": "6.1.0-40-amd64",
                        "version": "#1 SMP PREEMPT_DYNAMIC",
                        "machine": "x86_64",
                        "domain": "(none)",
                    },
                    "long_bit": 64,
                    "uptime": 86400,
                    "loadavg": {"1m": 0.04, "5m": 0.02, "15m": 0.0},
                    "ram": {"total": 1000000, "free": 500000, "buffer": 20000},
                    "swap": {"total": 0, "free": 0},
                    "users": [{"name": "root", "device": "ttyS0", "host": "", "login_time": 1767225600}],
                    "disks": [
                        {
                            "name": "/dev/vda",
                            "is_mounted": True,
                            "mountpoint": "/",
                            "size_total": 2000000,
                            "size_used": 800000,
                            "size_avail": 1100000,
                        }
                    ],
                },
                exact=False,
            ),
        ),
    ),
    Command(
        "directory-create",
        "Make a directory and the parents that it lacks. An existing directory is fine and stays as it is.",
        operation="files:make_directory",
        method="files.mkdir",
        result="None",
        arguments=(
            Argument("path", str, _PATH),
            Argument(
                "perm",
                int,
                "Permissions, in decimal: 493 is 0755. They are set exactly, whatever the umask; missing parents "
                "get 0755.",
                default=0o755,
                maximum=PERMISSIONS_MAX,
            ),
            Argument(
                "parents",
                bool,
                "Make parents that are missing, and take a directory that is there; else both are errors.",
                default=True,
            ),
        ),
        errors=(
            ("ENOTDIR", "a part of the path is a file"),
            ("EEXIST", "the path is there and no directory, or `parents` is not set"),
            ("ENOENT", "the parent is missing, and `parents` is not set"),
        ),
        examples=(
            Example({"path": "/tmp/phoenix/site"}, True),
            Example({"path": "/tmp/phoenix", "perm": 493}, True),
            Example({"path": "/tmp/phoenix/site/new", "parents": False}, True),
        ),
        changes=True,
    ),
    Command(
        "file-open",
        "Open a file for `file-read` or `file-write`. Handles outlive the connection that opened them, until "
        "`file-close`. Opening never waits: a FIFO without a peer is opened for reading, and refused for writing.",
        handler="files:file_open",
        method="files.open_handle",
        result="int",
        arguments=(
            Argument("path", str, _PATH),
            Argument(
                "mode",
                str,
                "`r` to read; `w` to create the file, or empty it, and write.",
                default="r",
                choices=("r", "w"),
            ),
            Argument(
                "perm",
                int,
                "Permissions of a file that is made, in decimal: 420 is 0644.",
                default=0o644,
                maximum=PERMISSIONS_MAX,
            ),
            Argument(
                "force",
                bool,
                "Where the file is a running program (ETXTBSY), remove it and make it anew.",
                default=False,
            ),
        ),
        returns="The handle, an integer.",
        errors=(
            _NO_FILE,
            ("EISDIR", "the path is a directory"),
            ("ETXTBSY", "the file is a running program, and `force` is not set"),
            ("ENXIO", "nobody reads the FIFO that is to be written"),
            ("EMFILE", "too many handles are open"),
        ),
        examples=(Example({"path": _EXAMPLE_FILE, "mode": "w", "perm": 416}, 1000, exact=False),),
        changes=("mode", "w"),
    ),
    Command(
        "file-write",
        "Write to a file that was opened with `w`. With `eof` the data is the last: it is written, brought to the "
        "disk, and the handle is closed. Until then the answer means that the kernel has the data.",
        handler="files:file_write",
        arguments=(
            _HANDLE,
            Argument("bufb64", str, "The data, in base64; line breaks in it are fine.", python="data"),
            Argument("eof", bool, "This is the last piece: close the handle.", default=False),
        ),
        errors=(
            _NO_HANDLE,
            ("EINVAL", "`bufb64` is not base64"),
            (
                "ENOSPC",
                "the filesystem is full; the file holds a part of the data, and the handle stays open",
            ),
        ),
        examples=(Example({"handle_id": 1000, "bufb64": "SGVsbG8sIHdvcmxkIQ==", "eof": True}, True),),
        handle="handle_id",
    ),
    Command(
        "file-read",
        "Read on from a file that was opened with `r`. At the end of the file the handle is closed.",
        handler="files:file_read",
        method="files.read_handle",
        result="FilePiece",
        arguments=(
            _HANDLE,
            Argument(
                "count",
                int,
                "How many bytes to read at the most.",
                default=READ_COUNT_DEFAULT,
                minimum=1,
                maximum=READ_COUNT_MAX,
            ),
        ),
        returns="`bufb64`: the data in base64. `eof`: the end was reached and the handle is closed; it comes with "
        "no data.",
        errors=(_NO_HANDLE, ("EAGAIN", "a FIFO or a device has no data now")),
        examples=(
            Example({"handle_id": 1000}, {"bufb64": "SGVsbG8sIHdvcmxkIQ==", "eof": False}, opens=_EXAMPLE_FILE),
            Example({"handle_id": 1000, "count": 65536}, {"bufb64": "", "eof": True}),
        ),
        nowait="file_read_nowait",
        handle="handle_id",
    ),
    Command(
        "file-close",
        "Close a handle. A file that was written is on the disk when the answer comes.",
        handler="files:file_close",
        method="files.close_handle",
        result="None",
        arguments=(_HANDLE,),
        errors=(_NO_HANDLE, ("EIO", "the data could not be written; the handle is closed all the same")),
        examples=(Example({"handle_id": 1000}, True, opens=_EXAMPLE_FILE),),
        handle="handle_id",
    ),
    Command(
        "get-file-md5sum",
        "Compute the MD5 digest of a file or a block device, following symbolic links.",
        handler="files:get_file_md5sum",
        method="files.md5",
        result="str",
        arguments=(Argument("path", str, _PATH),),
        returns="The digest in hex.",
        errors=(
            _NO_FILE,
            ("EISDIR", "it is a directory"),
            ("EINVAL", "it is a FIFO, a socket or a character device"),
        ),
        examples=(Example({"path": _EXAMPLE_FILE}, "6cd3556deb0da54bca060b4c39479839"),),
    ),
    Command(
        "get-file-sha256sum",
        "Compute the SHA-256 digest of a file or a block device, following symbolic links.",
        handler="files:get_file_sha256sum",
        method="files.sha256",
        result="str",
        arguments=(
            Argument("path", str, _PATH),
            Argument("length", int, "How many bytes of it, from the start.", default=INT64_MAX),
        ),
        returns="The digest in hex.",
        errors=(
            _NO_FILE,
            ("EISDIR", "it is a directory"),
            ("EINVAL", "it is a FIFO, a socket or a character device"),
        ),
        examples=(
            Example({"path": _EXAMPLE_FILE}, "315f5bdb76d078c43b8ac0064e4a0164612b1fce77c869345bfc94c75894edd3"),
        ),
    ),
    Command(
        "file-chown",
        "Change owner and group of a file; a symbolic link is followed.",
        operation="owners:change_owner",
        method="files.chown",
        result="None",
        arguments=(
            Argument("path", str, _PATH),
            Argument("uid", int, "Numeric owner; -1: it stays.", default=0, minimum=-1, maximum=ID_MAX),
            Argument("gid", int, "Numeric group; -1: it stays.", default=0, minimum=-1, maximum=ID_MAX),
            Argument("user", str, "Name or number of the owner, in place of `uid`.", default=""),
            Argument("group", str, "Name or number of the group, in place of `gid`.", default=""),
        ),
        errors=(_NO_FILE, _NO_USER, ("EPERM", "the agent may not")),
        examples=(
            Example({"path": _EXAMPLE_FILE, "uid": 0, "gid": 0}, True),
            Example({"path": _EXAMPLE_FILE, "user": "root", "gid": -1}, True),
        ),
        changes=True,
    ),
    Command(
        "file-chmod",
        "Change the permissions of a file; a symbolic link is followed.",
        operation="files:change_mode",
        method="files.chmod",
        result="None",
        arguments=(
            Argument("path", str, _PATH),
            Argument("perm", int, "Permissions, in decimal: 420 is 0644.", maximum=PERMISSIONS_MAX),
        ),
        errors=(_NO_FILE,),
        examples=(Example({"path": _EXAMPLE_FILE, "perm": 416}, True),),
        changes=True,
    ),
    Command(
        "file-stat",
        "Tell what lstat(2) tells of a path: a symbolic link is not followed.",
        handler="files:file_stat",
        method="files.stat",
        result="FileStatus",
        arguments=(
            Argument("path", str, _PATH),
            Argument("follow", bool, "Follow a symbolic link, as stat(2) does.", default=False),
            _NAMES,
        ),
        returns="`name`: the last part of the path. `isdir`. `stat`: the members of struct stat.",
        errors=(_NO_FILE,),
        examples=(
            Example({"path": _EXAMPLE_FILE}, _EXAMPLE_STAT, exact=False),
            Example(
                {"path": _EXAMPLE_FILE, "names": True},
                {**_EXAMPLE_STAT, "user": "root", "group": "root", "target": ""},
                exact=False,
            ),
        ),
    ),
    Command(
        "directory-list",
        "List a directory, in the order in which the filesystem gives it, without `.` and `..`.",
        handler="files:directory_list",
        method="files.list",
        result="tuple[FileStatus, ...]",
        arguments=(
            Argument("path", str, _PATH),
            Argument(
                "n",
                int,
                "List at most so many entries; 0: all, up to the limit of the agent.",
                default=0,
                python="limit",
            ),
            _NAMES,
        ),
        returns="List of the objects of `file-stat`. An entry that vanishes meanwhile is left out.",
        errors=(
            _NO_FILE,
            ("ENOTDIR", "it is no directory"),
            (
                "E2BIG",
                "it has more entries than the agent's `listing-limit`, and `n` is 0 or above the limit",
            ),
        ),
        examples=(Example({"path": "/tmp/phoenix", "n": 1}, [_EXAMPLE_STAT], exact=False),),
    ),
    Command(
        "file-get",
        "Send a regular file or a block device as a stream, at the speed of the port.",
        handler="streams:file_get",
        arguments=(
            Argument("path", str, _PATH),
            Argument("offset", int, "Where to begin, in bytes.", default=0),
            Argument("length", int, "How many bytes at most.", default=INT64_MAX, minimum=1),
            _WINDOW,
            _DIGEST,
            Argument("sparse", bool, "Leave out holes: the client knows SKIP frames.", default=False),
        ),
        returns="`stream`: its number; `size` of the file in bytes, its permissions `mode`, and `mtime` in "
        "nanoseconds since 1970. Closing message of the agent: `size`, how many bytes were sent, and `sha256` of "
        "them in hex. The client sends nothing.",
        errors=(_NO_FILE, ("ESPIPE", "it is neither a regular file nor a block device"), _TOO_MANY_STREAMS),
        examples=(
            Example(
                {"path": _EXAMPLE_FILE, "window": 0},
                {"size": 13, "mode": 416, "mtime": 1767225600000000000, "stream": 70007},
                exact=False,
            ),
        ),
    ),
    Command(
        "file-put",
        "Take a file as a stream. It appears at `path`, in the place of what was there, when all of it has come, "
        "its digest is right, and it is on the disk; until then, and where anything fails, nothing changes.",
        handler="streams:file_put",
        arguments=(
            Argument("path", str, _PATH + " A symbolic link stays, and what it names is replaced."),
            Argument("perm", int, "Its permissions, in decimal.", default=0o644, maximum=PERMISSIONS_MAX),
            Argument(
                "uid",
                int,
                "Its owner; -1 for that of the file that it replaces.",
                default=-1,
                minimum=-1,
                maximum=ID_MAX,
            ),
            Argument(
                "gid",
                int,
                "Its group; -1 for that of the file that it replaces.",
                default=-1,
                minimum=-1,
                maximum=ID_MAX,
            ),
            _DIGEST,
            Argument(
                "part",
                str,
                "Keep what has come where the file does not get to its place, beside it as "
                "`.NAME.PART.phoenix-part`: at most 32 letters, digits and hyphens. Empty: keep nothing.",
                default="",
            ),
            Argument("offset", int, "Continue the part that was kept, behind so many bytes of it.", default=0),
        ),
        returns="`stream`: its number; `window`: how many bytes the client may send at first. Closing message of the "
        "client: `size`, and `sha256` in hex where there is a digest; each may be left out. Of the agent, when the "
        "file is in its place: the same two.",
        errors=(
            ("EISDIR", "it is a directory"),
            ("EINVAL", "it is there, and no regular file"),
            ("ENOENT", "there is no such directory"),
            ("ENODATA", "less was kept of the part"),
            _TOO_MANY_STREAMS,
        ),
        examples=(Example({"path": "/tmp/phoenix/put.txt"}, {"window": 1048576, "stream": 70008}, exact=False),),
        changes=True,
    ),
    Command(
        "directory-get",
        "Send a directory with all that is in it as a tar stream (PAX), made by a process beside the agent. Symbolic "
        "links are not followed. Files that vanish meanwhile and sockets are left out.",
        handler="streams:directory_get",
        arguments=(Argument("path", str, _PATH), _WINDOW),
        returns="`stream`: its number; `stderr`: that of a stream of text, with a line for each thing that is left "
        "out (`note: NAME: WHY`) or could not be read (`missing: NAME: WHY`), the first hundred. Closing message of "
        "the agent on `stream`: `status`, 0: all is there, 1: something is missing, 2: it gave up; or `signal`, the "
        "number of the one that ended the process. The client sends nothing.",
        errors=(_NO_FILE, ("ENOTDIR", "it is no directory"), _TOO_MANY_STREAMS),
        examples=(Example({"path": "/tmp/phoenix", "window": 0}, {"stream": 70014, "stderr": 70015}, exact=False),),
    ),
    Command(
        "directory-put",
        "Take a tar stream (PAX), and make what it holds below a directory, which is made where it is missing, with "
        "its parents. Each file appears when it is whole. Nothing outside the directory can be reached: no symbolic "
        "link is followed on the way, and a name with `..` ends it. Directories that are there keep their "
        "permissions.",
        handler="streams:directory_put",
        arguments=(
            Argument("path", str, _PATH),
            Argument("owners", bool, "Take over the numeric owners, where the agent is root.", default=False),
            Argument("set_id", bool, "Take over the set-user-ID and set-group-ID bits.", default=False),
            _WINDOW,
        ),
        returns="`stream`: its number; `window`: how many bytes the client may send at first; `stderr`: as with "
        "`directory-get`. The client ends the stream after the tar's end mark. Closing message of the agent, when "
        "all is on the disk: `status` or `signal`, as with `directory-get`.",
        errors=(
            ("ENOTDIR", "something is there that is no directory"),
            ("EACCES", "the directory cannot be made"),
            _TOO_MANY_STREAMS,
        ),
        examples=(
            Example(
                {"path": "/tmp/phoenix/tree", "window": 0},
                {"window": 131072, "stream": 70016, "stderr": 70017},
                exact=False,
            ),
        ),
        changes=True,
    ),
    Command(
        "exec",
        "Start a program, with streams for its stdin, stdout and stderr, or with a terminal. It is in a session "
        "and a process group of its own. The group gets SIGTERM, or SIGHUP where it has a terminal, when the client "
        "goes away or resets `stream`, and SIGKILL five seconds later, unless it is detached.",
        handler="streams:execute",
        arguments=(
            Argument(
                "argv",
                list,
                "The program, searched in `PATH` where it has no slash, and its arguments. Empty: the login shell "
                "of the user.",
            ),
            Argument("env", dict, "Environment variables, besides HOME, LOGNAME, PATH, SHELL and USER.", default={}),
            Argument("user", str, "Name or number of the user; empty: the agent's own.", default=""),
            Argument("directory", str, "Working directory; empty: the user's home.", default="", python="cwd"),
            Argument("terminal", bool, "Give it a pseudo-terminal instead of pipes.", default=False),
            _ROWS,
            _COLUMNS,
            Argument(
                "detach",
                bool,
                "Keep it when its client goes away or resets its streams, for `exec-attach`. What it writes "
                "meanwhile waits in its pipes, of 256 KiB each; then the process waits. At most 64 at once.",
                default=False,
            ),
            _WINDOW,
        ),
        returns="`pid`; `stream`: the number of the stream of its stdin and stdout, or of its terminal; `stderr`: "
        "that of its stderr, unless it has a terminal; `window`: how many bytes the client may send at first. "
        "Closing message of the agent on `stream`, which ends it in both directions: `status`, its exit status, or "
        "`signal`, the number of the one that ended it. What a process that it left behind writes later is not "
        "sent.",
        errors=(
            ("ENOENT", "there is no such program, directory or user"),
            ("EACCES", "the program can't be executed"),
            ("EPERM", "the agent may not become that user"),
            _TOO_MANY_STREAMS,
        ),
        examples=(
            Example(
                {"argv": ["sleep", "60"], "terminal": True, "window": 0},
                {"pid": 4711, "window": 131072, "stream": 70009},
                exact=False,
            ),
            Example(
                {"argv": ["sh", "-c", "echo $GREETING"], "env": {"GREETING": "hello"}, "user": "nobody", "window": 0},
                {"pid": 4712, "window": 131072, "stream": 70010, "stderr": 70011},
                exact=False,
            ),
        ),
        changes=True,
    ),
    Command(
        "exec-attach",
        "Get the streams of a process that `exec` started with `detach`, once no client has them any more. One "
        "that has ended is kept for an hour, until somebody is told how it ended.",
        handler="streams:execute_attach",
        arguments=(_PID, _WINDOW),
        returns="As `exec`, and `argv`, as it was started.",
        errors=(
            ("ESRCH", "no detached process has this number"),
            ("EBUSY", "another client is attached to it"),
            _TOO_MANY_STREAMS,
        ),
        changes=True,
    ),
    Command(
        "exec-list",
        "List the processes that `exec` started: those that run, and those that ended detached and nobody was told.",
        handler="streams:execute_list",
        method="processes.list",
        result="tuple[ProcessInformation, ...]",
        returns="A list of objects: `pid`; `argv` and `user`, as they were given; `started`, in seconds since the "
        "epoch; `terminal`, whether it has one; `detached`; `attached`, whether a client has its streams; and where "
        "it has ended `status` or `signal`, as in the closing message of `exec`.",
        examples=(
            Example(
                {},
                [
                    {
                        "pid": 4711,
                        "argv": ["sleep", "60"],
                        "user": "",
                        "started": 1767225600,
                        "terminal": True,
                        "detached": False,
                        "attached": True,
                    }
                ],
                exact=False,
            ),
        ),
        inline=False,
    ),
    Command(
        "exec-resize",
        "Tell the terminal of a process that its window has another size.",
        handler="streams:execute_resize",
        method="processes.resize",
        result="None",
        arguments=(_PID, _ROWS, _COLUMNS),
        errors=(_NO_PROCESS, ("ENOTTY", "it has no terminal")),
        examples=(Example({"pid": 4711, "rows": 50, "columns": 132}, True),),
    ),
    Command(
        "exec-signal",
        "Send a signal to the process group of a process.",
        handler="streams:execute_signal",
        method="processes.signal",
        result="None",
        arguments=(
            _PID,
            Argument("signal", int, "Number of the signal, as signal(7) has it.", minimum=1, maximum=64),
        ),
        errors=(_NO_PROCESS,),
        examples=(Example({"pid": 4711, "signal": 15}, True),),
        changes=True,
    ),
    Command(
        "listen",
        "Listen in the guest, on TCP or a Unix socket, and give each connection a stream.",
        handler="streams:listen",
        arguments=(
            Argument("host", str, "Address to listen on; empty: 127.0.0.1.", default=""),
            Argument("port", int, "TCP port; 0: any.", default=0, maximum=65535),
            Argument("path", str, "Path of a Unix socket, instead of `host` and `port`.", default=""),
            _WINDOW,
        ),
        returns="`stream`: the number of a stream on which the agent sends a line of JSON for each connection: "
        "`stream`, the number of its stream, `window`, how many bytes the client may send on it at first, and "
        "`host` and `port` of the peer; or `refused` and why. Resetting the first stream ends the listening, and "
        "leaves the connections alone. With TCP also `host` and `port`, where it listens.",
        errors=(
            ("EADDRINUSE", "somebody listens there"),
            ("EACCES", "the agent may not listen there"),
            _TOO_MANY_STREAMS,
        ),
        examples=(
            Example({"port": 8384, "window": 0}, {"host": "127.0.0.1", "port": 8384, "stream": 70012}, exact=False),
        ),
        changes=True,
    ),
    Command(
        "connect",
        "Connect to a TCP port that the guest can reach, or to a Unix socket in the guest.",
        handler="streams:connect",
        arguments=(
            _HOST,
            _PORT,
            _SOCKET_PATH,
            Argument("timeout", int, "How long to try each address, in seconds.", default=10, minimum=1, maximum=300),
            _WINDOW,
        ),
        returns="`stream`: its number; `window`: how many bytes the client may send at first. An end in one "
        "direction leaves the other one open.",
        errors=(
            ("ECONNREFUSED", "nobody listens there"),
            ("ETIMEDOUT", "no answer came"),
            ("EADDRNOTAVAIL", "the name is unknown"),
            ("ENOENT", "there is no such socket"),
            _TOO_MANY_STREAMS,
        ),
        examples=(
            Example(
                {"host": "127.0.0.1", "port": 8384, "window": 0}, {"window": 131072, "stream": 70013}, exact=False
            ),
        ),
        changes=True,
    ),
    Command(
        "fs-freeze",
        "Sync and freeze every local filesystem on a block device, device-mapper and loop devices included, each "
        "once, a filesystem on a loop file before the one that holds the file. Where one fails, those frozen "
        "already are thawed. Filesystems that cannot be frozen, or that somebody else froze, are left alone and "
        "logged. Until `fs-unfreeze`, only commands that cannot touch a filesystem are served. The guest's own "
        "programs that are to run before a freeze, and after the thaw, do so.",
        handler="filesystems:fs_freeze",
        method="filesystems.freeze",
        result="None",
        arguments=(
            Argument(
                "timeout",
                int,
                "after how many seconds the agent thaws by itself: 0 for never, -1 for what it is configured to",
                default=-1,
                minimum=-1,
                maximum=31 * 24 * 3600,
                python="auto_thaw",
            ),
        ),
        errors=(
            ("EBUSY", "filesystems are frozen already"),
            ("ECHILD", "a hook has failed, so that nothing was frozen"),
            ("ETIMEDOUT", "a hook took too long, so that nothing was frozen"),
            ("EPERM", "others than root may change a hook, so that nothing was frozen"),
            ("ECANCELED", "`fs-unfreeze` came meanwhile"),
            ("ENOENT", "another mount hides a filesystem"),
            ("EINVAL", "the agent's `run-directory` would be frozen; put it on a tmpfs"),
        ),
        examples=(Example({}, True),),
        changes=True,
    ),
    Command(
        "get-freeze-status",
        "Tell whether filesystems are frozen by this agent.",
        handler="filesystems:get_freeze_status",
        arguments=(Argument("details", bool, "tell more", default=False),),
        returns="`true` when frozen, else `false`. With `details`, an object: `frozen`; `remaining`, the seconds "
        "until the agent thaws by itself, -1 for never; and `ended`, how the last freeze ended: `thawed` for "
        "`fs-unfreeze`, `deadline` where the agent thawed by itself, `died` where it was killed meanwhile, so that "
        "its guardian or the next agent thawed, and empty where there was none, or is one.",
        examples=(
            Example({}, True),
            Example({"details": True}, {"frozen": True, "remaining": 599, "ended": ""}, exact=False),
        ),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "fs-unfreeze",
        "Thaw what `fs-freeze` froze, in the reverse order. Nothing frozen is fine. A freeze that is at work is "
        "cancelled. Where some cannot be thawed the others are, and it can be asked again.",
        handler="filesystems:fs_unfreeze",
        method="filesystems.thaw",
        result="None",
        errors=(
            ("EBUSY", "a freeze is stuck in the kernel; what it had frozen is thawed"),
            ("ECHILD", "all is thawed, and a hook has failed"),
            ("ETIMEDOUT", "all is thawed, and a hook took too long"),
        ),
        examples=(Example({}, True),),
        changes=True,
        while_frozen=True,
        urgent=True,
    ),
    Command(
        "get-netifaces",
        "List the network interfaces and their addresses.",
        handler="network:get_netifaces",
        method="network.interfaces",
        result="tuple[NetworkInterface, ...]",
        returns="List of `index`, `name`, `hwaddr` (empty where there is none), `flags` (words joined by `|`: `up`, "
        "`broadcast`, `loopback`, `pointtopoint`, `multicast`) and `ips` in CIDR form.",
        errors=(_CHANGING,),
        examples=(
            Example(
                {},
                [
                    {
                        "index": 1,
                        "name": "lo",
                        "hwaddr": "",
                        "flags": "up|loopback",
                        "ips": ["127.0.0.1/8", "::1/128"],
                    }
                ],
                exact=False,
            ),
        ),
    ),
    Command(
        "ipaddr-add",
        "Add an address to an interface. A broadcast address is set where IPv4 has one for the prefix.",
        operation="network:add_address",
        method="network.add_address",
        result="None",
        arguments=(_CIDR, _IFNAME),
        errors=(_NO_INTERFACE, _NO_ADDRESS, ("EEXIST", "the interface has the address")),
        examples=(Example({"ip": "192.0.2.10/24", "ifname": "eth0"}, True),),
        aliases=("linux-ipaddr-add",),
        changes=True,
    ),
    Command(
        "net-iface-up",
        "Set an interface up.",
        operation="network:set_interface_up",
        method="network.set_interface_up",
        result="None",
        arguments=(_IFNAME,),
        errors=(_NO_INTERFACE,),
        examples=(Example({"ifname": "eth0"}, True),),
        changes=True,
    ),
    Command(
        "route-add",
        "Add a route to the main table.",
        operation="network:add_route",
        method="network.add_route",
        result="None",
        arguments=_ROUTE_ARGUMENTS,
        errors=(
            _NO_INTERFACE,
            ("EEXIST", "there is such a route"),
            ("ENETUNREACH", "the gateway is not on a link"),
        ),
        examples=(
            Example({"ifname": "eth0", "dst": "198.51.100.0/24", "gateway": "192.0.2.1"}, True),
            Example({"ifname": "eth0", "dst": "203.0.113.0/24", "src": "192.0.2.10", "scope": 253}, True),
        ),
        changes=True,
    ),
    Command(
        "get-route-list",
        "List the routes of the main table, as `ip route show` and `ip -6 route show` do.",
        handler="network:get_route_list",
        method="network.routes",
        result="tuple[Route, ...]",
        arguments=(
            Argument(
                "family",
                int,
                "0: both; 2: IPv4; 10: IPv6.",
                default=AF_UNSPEC,
                choices=(AF_UNSPEC, AF_INET, AF_INET6),
            ),
        ),
        returns="List of `ifname`, `scope`, `dst` (`ip`, `mask`), `src`, `gateway`; strings are empty where not set, "
        "both of `dst` in a default route. A route over several next hops is listed once for each.",
        errors=(_CHANGING,),
        examples=(
            Example(
                {"family": 2},
                [
                    {
                        "ifname": "eth0",
                        "scope": 0,
                        "dst": {"ip": "198.51.100.0", "mask": "255.255.255.0"},
                        "src": "",
                        "gateway": "192.0.2.1",
                    }
                ],
                exact=False,
            ),
        ),
    ),
    Command(
        "route-del",
        "Delete a route of the main table: one that has all that is given, `scope` included, which is 253 for an "
        "IPv4 route without a gateway.",
        operation="network:delete_route",
        method="network.delete_route",
        result="None",
        arguments=_ROUTE_ARGUMENTS,
        errors=(_NO_INTERFACE, _NO_ADDRESS, ("ESRCH", "there is no such route")),
        examples=(
            Example({"ifname": "eth0", "dst": "203.0.113.0/24", "scope": 253}, True),
            Example({"ifname": "eth0", "dst": "198.51.100.0/24", "gateway": "192.0.2.1"}, True),
        ),
        changes=True,
    ),
    Command(
        "ipaddr-del",
        "Remove an address from an interface.",
        operation="network:remove_address",
        method="network.remove_address",
        result="None",
        arguments=(_CIDR, _IFNAME),
        errors=(_NO_INTERFACE, _NO_ADDRESS, ("EADDRNOTAVAIL", "the interface does not have the address")),
        examples=(Example({"ip": "192.0.2.10/24", "ifname": "eth0"}, True),),
        aliases=("linux-ipaddr-del",),
        changes=True,
    ),
    Command(
        "net-iface-down",
        "Set an interface down.",
        operation="network:set_interface_down",
        method="network.set_interface_down",
        result="None",
        arguments=(_IFNAME,),
        errors=(_NO_INTERFACE,),
        examples=(Example({"ifname": "eth0"}, True),),
        changes=True,
    ),
)

BY_NAME: Final[dict[str, Command]] = {
    name: command for command in COMMANDS for name in (command.name, *command.aliases)
}
