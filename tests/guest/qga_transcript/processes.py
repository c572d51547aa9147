"""Programs that are run, and asked after."""

from __future__ import annotations

import base64
from typing import Any

from tests.guest.qga_transcript import Row
from tests.guest.qga_transcript.files import ask


def running(name: str, path: str, *words: str, differs: str = "", **arguments: Any) -> tuple[Row, ...]:
    """Run a program, and ask after it until it has ended."""
    return (
        Row(
            name,
            ask("exec", path=path, arg=[*words], **arguments),
            masked=("0/return/pid",),
            keeps="pid",
            differs=differs,
        ),
        Row(f"{name}, its end", ask("exec-status", pid="$pid"), awaits="exited", differs=differs),
    )


def script(name: str, text: str, **arguments: Any) -> tuple[Row, ...]:
    return running(name, "sh", "-c", text, capture_output=True, **arguments)


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


ROWS: tuple[Row, ...] = (
    *running("a path", "/bin/echo", "hi", capture_output=True),
    *running("a name", "echo", "hi", capture_output=True),
    *running("no capture", "echo", "hi"),
    *running("capture of false", "echo", "hi", capture_output=False),
    Row("no arguments", ask("exec", path="/bin/true"), masked=("0/return/pid",), keeps="pid"),
    Row("no arguments, its end", ask("exec-status", pid="$pid"), awaits="exited"),
    *script("both streams", "echo out; echo err >&2; exit 3"),
    *script("only one", "echo err >&2"),
    *script("an exit code of 255", "exit 255"),
    *script("killed", "kill -9 $$"),
    *script("crashed", "kill -11 $$"),
    *script("a child that stays a moment", "sleep 0.5 & echo x"),
    *script("a child that stays without the pipes", "sleep 2 >/dev/null 2>&1 & echo x"),
    *script("how it runs", "umask; id -u; id -g; cat /proc/self/oom_score_adj; pwd; readlink /proc/self/fd/0"),
    *script("its signals", "grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status"),
    *script("too much", "head -c 17000000 /dev/zero; head -c 16777216 /dev/zero >&2"),
    *running("an environment", "env", env=["A=1", "C="], capture_output=True),
    *script("an environment that is none", "env -u PWD | grep -v _=", env=["A=1", "B", "A=2", "PATH=/bin"]),
    *running("no environment at all", "env", env=[], capture_output=True),
    *running("a name by the PATH that is given", "env", env=["PATH=/nowhere:/usr/bin"], capture_output=True),
    *running("input", "cat", input_data=encode(b"input!"), capture_output=True),
    *running("empty input", "cat", input_data="", capture_output=True),
    *running("input in lines", "cat", input_data="aW5w\ndXQh\n", capture_output=True),
    *running("much input", "md5sum", input_data=encode(bytes(300_000)), capture_output=True),
    *running("input that nobody wants", "true", input_data=encode(bytes(300_000)), capture_output=True),
    *running("an argument beyond ASCII", "printf", "\u00e4\u20ac", capture_output=True),
    *running("an argument with a NUL", "printf", "a\0b", capture_output=True),
    Row("a name that is not there", ask("exec", path="nosuch", capture_output=True)),
    Row("a path that is not there", ask("exec", path="/nosuch/x")),
    Row("a name that the PATH does not have", ask("exec", path="env", env=["PATH=/nowhere"])),
    Row("an empty path", ask("exec", path="")),
    Row("a directory", ask("exec", path="/etc")),
    Row("no program", ask("exec", path="/etc/hostname")),
    Row("input that is no base64", ask("exec", path="cat", input_data="!!")),
    Row("no path", ask("exec")),
    Row("a number for a path", ask("exec", path=1)),
    Row("a text for the arguments", ask("exec", path="true", arg="x")),
    Row("a number among the arguments", ask("exec", path="true", arg=["x", 1])),
    Row("an object for the environment", ask("exec", path="true", env={})),
    Row("a number for input", ask("exec", path="true", input_data=1)),
    Row("something more", ask("exec", path="true", more=1)),
    Row("a number for the capture", ask("exec", path="true", capture_output=1), differs="newer-capture"),
    Row("an unknown capture", ask("exec", path="true", capture_output="some"), differs="newer-capture"),
    *(
        Row(f"a capture of {kind}", ask("exec", path="true", capture_output=kind), differs="newer-capture")
        for kind in ("none", "stdout", "stderr", "separated", "merged")
    ),
    Row("status of nothing", ask("exec-status")),
    Row("status of a text", ask("exec-status", pid="1")),
    Row("status of a program of others", ask("exec-status", pid=1)),
    Row("status of a number below zero", ask("exec-status", pid=-1)),
    Row("status with more", ask("exec-status", pid=1, more=1)),
    Row("a program that runs", ask("exec", path="sleep", arg=["1"]), masked=("0/return/pid",), keeps="pid"),
    Row("a program that runs, asked", ask("exec-status", pid="$pid")),
    Row("a program that runs, its end", ask("exec-status", pid="$pid"), awaits="exited"),
    Row("a program that has ended, once more", ask("exec-status", pid="$pid"), differs="told-again"),
)
