"""The bare port: run in the guest as `raw_port.py DEVICE PAYLOAD`, it writes and reads as fast as it can.

Each line from the host is a command:

    echo                     answer with a line
    write PIECE              write the payload, PIECE bytes a system call, as dd does
    writev PIECE             the same, with writev(2) of many elements of PIECE bytes
    read PIECE               answer `go`, read as many bytes as the payload has, then answer with a line
    readv PIECE              the same, with readv(2)
    digest                   answer with the SHA-256 of what was read last
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator

_ELEMENTS = 64


def elements(view: memoryview, piece: int) -> list[memoryview]:
    """The next elements of a readv(2) or writev(2)."""
    return [view[start : start + piece] for start in range(0, min(len(view), piece * _ELEMENTS), piece)]


def commands(fd: int) -> Iterator[list[str]]:
    """Yield the words of each line. A host waits for an answer before it sends more."""
    line = b""
    while True:
        data = os.read(fd, 4096)
        if not data:
            # The host's end is closed.
            time.sleep(0.05)
        line += data
        if line.endswith(b"\n"):
            yield line.decode().split()
            line = b""


def main() -> None:
    """Serve the port for ever."""
    fd = os.open(sys.argv[1], os.O_RDWR)
    with open(sys.argv[2], "rb") as file:
        payload = memoryview(file.read())
    received = memoryview(bytearray(len(payload)))
    for words in commands(fd):
        name, piece = words[0], int(words[1]) if len(words) > 1 else 0
        rest = received if name in ("read", "readv") else payload
        if name == "write":
            while rest:
                rest = rest[os.write(fd, rest[:piece]) :]
            continue
        if name == "writev":
            while rest:
                rest = rest[os.writev(fd, elements(rest, piece)) :]
            continue
        if name in ("read", "readv"):
            os.write(fd, b"go\n")
        while rest and name in ("read", "readv"):
            size = os.readv(fd, elements(rest, piece) if name == "readv" else [rest[:piece]])
            if not size:
                sys.exit("the host went away")
            rest = rest[size:]
        answer = hashlib.sha256(received).hexdigest() if name == "digest" else "done"
        os.write(fd, answer.encode() + b"\n")


if __name__ == "__main__":
    main()
