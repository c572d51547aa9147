"""Open files: modes, positions, ends and mistakes. Each agent has files of its own."""

from __future__ import annotations

import json
from typing import Any

from tests.guest.qga_transcript import Row

DIRECTORY = "/dev/shm/qga-files-$own"
NOWHERE = "/nowhere/file"


NEW = ("w", "wb", "a", "ab", "w+", "wb+", "w+b", "a+", "ab+", "a+b")


def ask(command: str, **arguments: Any) -> str:
    """Return a request. Underscores stand for dashes; a text that begins with `$` is a variable."""
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    text = json.dumps({"execute": f"guest-{command}", "arguments": named})
    for value in named.values():
        if isinstance(value, str) and value.startswith("$"):
            text = text.replace(f'"{value}"', value)
    return text


def opening(name: str, path: str, mode: str = "r", keeps: str = "file") -> Row:
    return Row(name, ask("file-open", path=path, mode=mode), masked=("0/return",), keeps=keeps)


def _modes() -> tuple[Row, ...]:
    rows = []
    for mode in ("r", "rb", "r+", "rb+", "r+b", *NEW):
        rows += [
            Row(f"mode {mode}, nowhere", ask("file-open", path=NOWHERE, mode=mode)),
            opening(f"mode {mode}, a file that is there", "/dev/null", mode, keeps="there"),
            Row(f"mode {mode}, writing", ask("file-write", handle="$there", buf_b64="eHl6")),
            Row(f"mode {mode}, reading", ask("file-read", handle="$there")),
            Row(f"mode {mode}, closing", ask("file-close", handle="$there")),
        ]
    for mode in NEW:
        rows += [
            opening(f"mode {mode}, a new file", f"{DIRECTORY}/mode-{mode}", mode, keeps="new"),
            Row(f"mode {mode}, closing a new file", ask("file-close", handle="$new")),
        ]
    return tuple(rows)


def _base64() -> tuple[Row, ...]:
    plain = ("MTIz\nNDU2\n", "MTI=\n", "M\nT\nI\n=", "\n", "")
    short = ("MTI", "MT", "M", "=", "MTIzN", "MTIzND=", "MTIz=", "MTIz==")
    strange = ("M===", "MTI=MTI=", "MT=I", "====", "MTIz\r\nNDU2", "MTIz NDU2", "MT-_", "!", "\u00e4")
    return tuple(
        Row(f"base64 {text!r}", ask("file-write", handle="$data", buf_b64=text))
        for text in (*plain, *short, *strange)
    )


def _running(name: str, script: str, keeps: str = "pid") -> tuple[Row, ...]:
    return (
        Row(name, ask("exec", path="sh", arg=["-c", script]), masked=("0/return/pid",), keeps=keeps),
        Row(f"{name}, its end", ask("exec-status", pid=f"${keeps}"), awaits="exited"),
    )


WHENCES: tuple[Any, ...] = (0, 1, 2, 3, -1, 2**40, "SEEK", True, None, 1.0, [])


ROWS: tuple[Row, ...] = (
    *_running("a number of its own", "true", keeps="own"),
    *_running("a directory and a FIFO", f"mkdir {DIRECTORY} && mkfifo {DIRECTORY}/fifo {DIRECTORY}/unread"),
    *_modes(),
    *(Row(f"mode {mode!r}", ask("file-open", path=NOWHERE, mode=mode)) for mode in ("zz", "", "br", "x", "w+e")),
    Row("open without a mode", ask("file-open", path="/etc/hostname"), masked=("0/return",)),
    Row("open without a path", ask("file-open")),
    Row("open a number", ask("file-open", path=5)),
    Row("open with a number for a mode", ask("file-open", path="/etc/hostname", mode=5)),
    Row("open with more", ask("file-open", path="/etc/hostname", more=5)),
    Row("open nothing", ask("file-open", path="")),
    Row("open below a file", ask("file-open", path="/etc/hostname/x")),
    Row("open a directory to write", ask("file-open", path="/etc", mode="w")),
    Row(
        "open a FIFO that nobody reads",
        ask("file-open", path=f"{DIRECTORY}/unread", mode="w"),
        masked=("0/error/desc",),
    ),
    Row("open a NUL", ask("file-open", path="/etc/\0")),
    Row("open no terminal", ask("file-open", path="/dev/tty")),
    opening("open a directory", DIRECTORY),
    Row("read a directory", ask("file-read", handle="$file")),
    Row("close a directory", ask("file-close", handle="$file")),
    opening("data", f"{DIRECTORY}/data", "w+", keeps="data"),
    Row("write", ask("file-write", handle="$data", buf_b64="aGVsbG8gd29ybGQ=")),
    Row("read behind what was written", ask("file-read", handle="$data")),
    Row("seek to the begin", ask("file-seek", handle="$data", offset=0, whence=0)),
    Row("read some", ask("file-read", handle="$data", count=5)),
    Row("read up to the end", ask("file-read", handle="$data", count=6)),
    Row("read at the end", ask("file-read", handle="$data", count=6)),
    Row("read nothing", ask("file-read", handle="$data", count=0)),
    Row("seek from the end", ask("file-seek", handle="$data", offset=-5, whence="end")),
    Row("read past the end", ask("file-read", handle="$data", count=50331648)),
    Row("write after reading", ask("file-write", handle="$data", buf_b64="WFla")),
    Row("seek from here", ask("file-seek", handle="$data", offset=-3, whence="cur")),
    Row("write less than is given", ask("file-write", handle="$data", buf_b64="MTIz", count=1)),
    Row("read what is left", ask("file-read", handle="$data")),
    Row("seek past the end", ask("file-seek", handle="$data", offset=3, whence=2)),
    Row("write there", ask("file-write", handle="$data", buf_b64="IQ==")),
    Row("seek with a word", ask("file-seek", handle="$data", offset=0, whence="set")),
    Row("read it all", ask("file-read", handle="$data", count=100)),
    Row("flush", ask("file-flush", handle="$data")),
    *_base64(),
    *(Row(f"seek with {whence!r}", ask("file-seek", handle="$data", offset=0, whence=whence)) for whence in WHENCES),
    Row("seek before the begin", ask("file-seek", handle="$data", offset=-5, whence=0)),
    Row("seek too far", ask("file-seek", handle="$data", offset=2**63 - 1, whence=2)),
    Row("seek without an offset", ask("file-seek", handle="$data", whence=0)),
    Row("seek without a whence", ask("file-seek", handle="$data", offset=0)),
    Row("seek a handle that is not there", ask("file-seek", handle=9, offset=0, whence=9)),
    Row("seek with more", ask("file-seek", handle="$data", offset=0, whence=0, more=0)),
    Row("read less than nothing", ask("file-read", handle="$data", count=-1)),
    Row("read more than 48 MiB", ask("file-read", handle="$data", count=50331649)),
    Row("read a text", ask("file-read", handle="$data", count="1")),
    Row("read without a handle", ask("file-read")),
    Row("read a handle that is a text", ask("file-read", handle="a")),
    Row("read a handle that is not there", ask("file-read", handle=9)),
    Row("read with more", ask("file-read", handle="$data", more=1)),
    Row("write less than nothing", ask("file-write", handle="$data", buf_b64="MTIz", count=-1)),
    Row("write more than is given", ask("file-write", handle="$data", buf_b64="MTIz", count=4)),
    Row("write nothing of it", ask("file-write", handle="$data", buf_b64="MTIz", count=0)),
    Row("write without data", ask("file-write", handle="$data")),
    Row("write a number", ask("file-write", handle="$data", buf_b64=5)),
    Row("write to a handle that is not there", ask("file-write", handle=9, buf_b64="!")),
    Row("write with more", ask("file-write", handle="$data", buf_b64="", more=1)),
    Row("flush without a handle", ask("file-flush")),
    Row("flush a handle that is not there", ask("file-flush", handle=9)),
    Row("flush a text", ask("file-flush", handle="9")),
    Row("flush with more", ask("file-flush", handle="$data", more=1)),
    Row("close without a handle", ask("file-close")),
    Row("close a text", ask("file-close", handle="9")),
    Row("close with more", ask("file-close", handle="$data", more=1)),
    Row("close", ask("file-close", handle="$data")),
    Row("close once more", ask("file-close", handle="$data"), masked=("0/error/desc",)),
    opening("read only", f"{DIRECTORY}/data"),
    Row("read only, write", ask("file-write", handle="$file", buf_b64="cQ==")),
    Row("read only, read", ask("file-read", handle="$file", count=4)),
    Row("read only, close", ask("file-close", handle="$file")),
    opening("write only", f"{DIRECTORY}/data", "w"),
    Row("write only, read", ask("file-read", handle="$file", count=4)),
    Row("write only, write", ask("file-write", handle="$file", buf_b64="cQ==")),
    Row("write only, close", ask("file-close", handle="$file")),
    opening("append", f"{DIRECTORY}/data", "a+"),
    Row("append, read", ask("file-read", handle="$file", count=4)),
    Row("append, write", ask("file-write", handle="$file", buf_b64="bW9yZQ==")),
    Row("append, where", ask("file-seek", handle="$file", offset=0, whence="cur")),
    Row("append, back", ask("file-seek", handle="$file", offset=0, whence="set")),
    Row("append, write at the end all the same", ask("file-write", handle="$file", buf_b64="ZW5k")),
    Row("append, where now", ask("file-seek", handle="$file", offset=0, whence="cur")),
    Row("append, close", ask("file-close", handle="$file")),
    opening("a FIFO", f"{DIRECTORY}/fifo", keeps="fifo"),
    Row("a FIFO without a writer, read", ask("file-read", handle="$fifo")),
    opening("a FIFO, the other side", f"{DIRECTORY}/fifo", "w", keeps="writer"),
    Row("an empty FIFO, read", ask("file-read", handle="$fifo")),
    Row("a FIFO, write", ask("file-write", handle="$writer", buf_b64="YWJj")),
    Row("a FIFO, flush", ask("file-flush", handle="$writer")),
    Row("a FIFO, read less than was asked for", ask("file-read", handle="$fifo"), differs="no-loss"),
    Row("a FIFO, seek", ask("file-seek", handle="$fifo", offset=0, whence=0)),
    Row("a FIFO, close", ask("file-close", handle="$fifo")),
    Row("a FIFO, close the other side", ask("file-close", handle="$writer")),
    opening("a full device", "/dev/full", "w"),
    Row("a full device, write", ask("file-write", handle="$file", buf_b64="YWJj"), differs="unbuffered"),
    Row("a full device, flush", ask("file-flush", handle="$file"), differs="unbuffered"),
    Row("a full device, close", ask("file-close", handle="$file")),
    opening("zeros", "/dev/zero"),
    Row("zeros, read", ask("file-read", handle="$file", count=10)),
    Row("zeros, close", ask("file-close", handle="$file")),
    *_running("the end", f"rm -r {DIRECTORY}"),
)
