"""Commands that start and control programs."""

from __future__ import annotations

from phoenix_ga.wire.commands.shared import TOO_MANY_STREAMS, WINDOW
from phoenix_ga.wire.declaration import Argument, Command, Example, StreamMember

_PID = Argument("pid", int, "Process ID returned by `exec`.", minimum=1, maximum=2**31 - 1)
_ROWS = Argument("rows", int, "Height of the terminal, in characters.", default=24, minimum=1, maximum=65535)
_COLUMNS = Argument("columns", int, "Width of the terminal, in characters.", default=80, minimum=1, maximum=65535)
_NO_PROCESS = ("ESRCH", "`exec` started no process with this ID, or it has ended")

COMMANDS = (
    Command(
        "exec",
        "Start a program with streams for stdin, stdout and stderr, or with a terminal. It runs in its own session "
        "and process group. If the client disconnects or resets `stream`, the group gets SIGTERM (SIGHUP if it has "
        "a terminal) and, five seconds later, SIGKILL, unless the program is detached.",
        handler="processes:execute",
        arguments=(
            Argument(
                "argv",
                list,
                "The program, looked up in `PATH` if it contains no slash, and its arguments. Empty: the user's "
                "login shell.",
            ),
            Argument(
                "env",
                dict,
                "Environment variables, in addition to those of a login: HOME, LOGNAME, SHELL, USER, PATH, "
                "XDG_RUNTIME_DIR if the user is logged in, and those of `/etc/environment`, `/etc/default/locale` "
                "and `/etc/locale.conf`.",
                default={},
            ),
            Argument(
                "user",
                str,
                "USER or USER:GROUP, names or numbers; empty: the agent's user. With a group, the program has no "
                "other group. A number that the guest does not know is valid, too.",
                default="",
            ),
            Argument("directory", str, "Working directory; empty: the user's home.", default="", python="cwd"),
            Argument("terminal", bool, "Use a pseudo-terminal instead of pipes.", default=False),
            _ROWS,
            _COLUMNS,
            Argument(
                "detach",
                bool,
                "Keep the program running, for `exec-attach`, when the client disconnects or resets its streams. "
                "Output then stays in pipes of 256 KiB each; when they are full, the program blocks. At most 64 "
                "programs can be detached.",
                default=False,
            ),
            WINDOW,
        ),
        returns="`pid`; `stream`: the number of the stream of stdin and stdout, or of the terminal; `stderr`: that "
        "of stderr, if there is no terminal; `window`: the number of bytes that the client may send at first. "
        "Closing message of the agent on `stream`, which ends both directions: `status`, the exit status, or "
        "`signal`, the signal that killed the program. Output that its children write later is not sent.",
        errors=(
            ("ENOENT", "the program, directory or user does not exist"),
            ("EACCES", "the program cannot be executed"),
            ("EPERM", "the agent may not run programs as this user"),
            ("ETIMEDOUT", "the program did not start within 10 seconds"),
            TOO_MANY_STREAMS,
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
        streams=(StreamMember("stream", sends=True, ends_both=True), StreamMember("stderr")),
        full_access=True,
    ),
    Command(
        "exec-attach",
        "Attach to a detached process that has no client. A process that has ended is kept for an hour, or until a "
        "client has received its exit status.",
        handler="processes:execute_attach",
        arguments=(_PID, WINDOW),
        returns="As for `exec`, and `argv` as given to it.",
        errors=(
            ("ESRCH", "no detached process has this ID"),
            ("EBUSY", "another client is attached to the process"),
            TOO_MANY_STREAMS,
        ),
        changes=True,
        streams=(StreamMember("stream", sends=True, ends_both=True), StreamMember("stderr")),
        full_access=True,
    ),
    Command(
        "exec-list",
        "List the processes that `exec` started: those that are running, and detached ones whose exit status no "
        "client has received.",
        handler="processes:execute_list",
        method="processes.list",
        result="tuple[ProcessInformation, ...]",
        returns="List of objects: `pid`; `argv` and `user` as given; `started`, in seconds since the epoch; "
        "`terminal`, whether it has one; `detached`; `attached`, whether a client has its streams; and, if it has "
        "ended, `status` or `signal` as in the closing message of `exec`.",
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
    ),
    Command(
        "exec-resize",
        "Set the window size of a process's terminal.",
        handler="processes:execute_resize",
        method="processes.resize",
        result="None",
        arguments=(_PID, _ROWS, _COLUMNS),
        errors=(_NO_PROCESS, ("ENOTTY", "the process has no terminal")),
        examples=(Example({"pid": 4711, "rows": 50, "columns": 132}, True),),
        full_access=True,
    ),
    Command(
        "process-list",
        "List all processes of the system, with their use of CPU and memory.",
        handler="processes:process_list",
        method="processes.list_all",
        result="ProcessList",
        returns="`processes`: list of objects: `pid`; `parent`, the ID of its parent; `uid` and `user`, its "
        "effective user, whose name may be empty; `state`, a letter as in proc(5); `nice`; `threads`; `cpu_ticks`, "
        "the CPU time that it has used; `started`, in seconds since the epoch; `virtual` and `resident`, its memory "
        "in bytes; `name`, at most 15 bytes; `argv`, of at most 4096 bytes, empty for a thread of the kernel. "
        "`omitted`: the number of processes that are left out because the list would exceed 4 MiB. `time`, in "
        "seconds since the epoch. `ticks_per_second`. `memory`: that of the system, in bytes.",
        examples=(
            Example(
                {},
                {
                    "processes": [
                        {
                            "pid": 1,
                            "parent": 0,
                            "uid": 0,
                            "user": "root",
                            "state": "S",
                            "nice": 0,
                            "threads": 1,
                            "cpu_ticks": 213,
                            "started": 1767139200,
                            "virtual": 172032000,
                            "resident": 12288000,
                            "name": "systemd",
                            "argv": ["/sbin/init"],
                        }
                    ],
                    "omitted": 0,
                    "time": 1767225600.25,
                    "ticks_per_second": 100,
                    "memory": 1024000000,
                },
                exact=False,
            ),
        ),
    ),
    Command(
        "process-signal",
        "Send a signal to a process of the system, whoever started it.",
        operation="running_processes:send_signal",
        method="processes.send_signal",
        result="None",
        arguments=(
            Argument("pid", int, "Process ID.", minimum=1, maximum=2**31 - 1),
            Argument("signal", int, "Signal number, see signal(7).", minimum=1, maximum=64),
        ),
        errors=(("ESRCH", "there is no such process"), ("EPERM", "the agent may not signal it")),
        examples=(Example({"pid": 4711, "signal": 18}, True),),
        changes=True,
        full_access=True,
    ),
    Command(
        "exec-signal",
        "Send a signal to the process group of a process.",
        handler="processes:execute_signal",
        method="processes.signal",
        result="None",
        arguments=(_PID, Argument("signal", int, "Signal number, see signal(7).", minimum=1, maximum=64)),
        errors=(_NO_PROCESS,),
        examples=(Example({"pid": 4711, "signal": 15}, True),),
        changes=True,
        full_access=True,
    ),
)
