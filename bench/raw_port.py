"""The bare port: `raw_port.py DEVICE PAYLOAD RECEIVED` runs in the guest, and writes and reads as fast as it can.

Each line from the host is a command. Writes send the file PAYLOAD; reads receive as many bytes.

    echo                answer with a line
    write PIECE         write from memory, PIECE bytes a system call
    writev PIECE        the same with writev(2), of many elements of PIECE bytes
    write-file PIECE    write from a file, PIECE bytes at a time, as dd does
    write-frames PIECE  the same in frames of PIECE bytes with a header, as the leanest agent could
    read PIECE          answer `go`, read into memory, PIECE bytes a system call, and answer with a line
    readv PIECE         the same with readv(2)
    read-file PIECE     the same into the file RECEIVED, as dd does
    read-frames PIECE   receive frames, and write their payloads into the file RECEIVED, as the leanest agent could
    digest              answer with the SHA-256 of the bytes read last
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
from collections.abc import Iterator

_ELEMENTS = 64
# Header of a DATA frame: magic, type, check, stream, length (docs/protocol.md).
_HEADER = struct.Struct(">BBHII")
_WRITE_ELEMENT = 32 * 1024
_READ_ELEMENT = 4096


def elements(view: memoryview, piece: int) -> list[memoryview]:
    """Return the next elements for readv(2) or writev(2)."""
    return [view[start : start + piece] for start in range(0, min(len(view), piece * _ELEMENTS), piece)]


def commands(fd: int) -> Iterator[list[str]]:
    """Yield the words of each line. The host waits for an answer before it sends more."""
    line = b""
    while True:
        data = os.read(fd, 4096)
        if not data:
            # The host is not connected.
            time.sleep(0.05)
        line += data
        if line.endswith(b"\n"):
            yield line.decode().split()
            line = b""


class RawPort:
    """The device and the payload. path: the payload's file. received_path: the file that read_file writes."""

    def __init__(self, device: str, path: str, received_path: str) -> None:
        self.fd = os.open(device, os.O_RDWR)
        self.path = path
        self.received_path = received_path
        with open(path, "rb") as file:
            self.payload = memoryview(file.read())
        self.received = memoryview(bytearray(len(self.payload)))

    def write(self, piece: int) -> None:
        rest = self.payload
        while rest:
            rest = rest[os.write(self.fd, rest[:piece]) :]

    def write_vectors(self, piece: int) -> None:
        rest = self.payload
        while rest:
            rest = rest[os.writev(self.fd, elements(rest, piece)) :]

    def write_file(self, piece: int) -> None:
        with open(self.path, "rb", buffering=0) as file:
            while data := file.read(piece):
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self.fd, rest) :]

    def write_frames(self, piece: int) -> None:
        buffer = memoryview(bytearray(piece))
        with open(self.path, "rb", buffering=0) as file:
            while size := file.readinto(buffer[_HEADER.size :]):
                check = 0x5048 ^ 0x0101 ^ 1 ^ size ^ size >> 16
                _HEADER.pack_into(buffer, 0, 0xFB, 1, check & 0xFFFF, 1, size)
                rest = buffer[: _HEADER.size + size]
                while rest:
                    rest = rest[os.writev(self.fd, elements(rest, _WRITE_ELEMENT)) :]

    def read(self, piece: int) -> None:
        rest = self.received
        while rest:
            rest = rest[os.readv(self.fd, [rest[:piece]]) or sys.exit("the host went away") :]

    def read_vectors(self, piece: int) -> None:
        rest = self.received
        while rest:
            rest = rest[os.readv(self.fd, elements(rest, piece)) or sys.exit("the host went away") :]

    def read_file(self, piece: int) -> None:
        size = 0
        with open(self.received_path, "wb+", buffering=0) as file:
            while size < len(self.received):
                size += file.write(os.read(self.fd, piece) or sys.exit("the host went away"))

    def read_frames(self, piece: int) -> None:
        buffer = memoryview(bytearray(_READ_ELEMENT * _ELEMENTS))
        pages = elements(buffer, _READ_ELEMENT)
        size = left = 0
        header = b""
        with open(self.received_path, "wb+", buffering=0) as file:
            while size < len(self.received):
                end = os.readv(self.fd, pages) or sys.exit("the host went away")
                start = 0
                while start < end:
                    if left:
                        taken = file.write(buffer[start : min(end, start + left)])
                        left -= taken
                        size += taken
                    else:
                        taken = min(_HEADER.size - len(header), end - start)
                        header += buffer[start : start + taken]
                        if len(header) == _HEADER.size:
                            left, header = _HEADER.unpack(header)[4], b""
                    start += taken

    def digest(self) -> str:
        """Return the SHA-256 of the bytes that were read last; remove the file if they are there."""
        if not os.path.exists(self.received_path):
            return hashlib.sha256(self.received).hexdigest()
        with open(self.received_path, "rb") as file:
            data = file.read()
        os.unlink(self.received_path)
        return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Serve the port until the service is stopped."""
    port = RawPort(*sys.argv[1:4])
    writers = {"write": port.write, "writev": port.write_vectors, "write-file": port.write_file}
    writers["write-frames"] = port.write_frames
    readers = {"read": port.read, "readv": port.read_vectors, "read-file": port.read_file}
    readers["read-frames"] = port.read_frames
    for words in commands(port.fd):
        if words[0] in writers:
            writers[words[0]](int(words[1]))
            continue
        if words[0] in readers:
            os.write(port.fd, b"go\n")
            readers[words[0]](int(words[1]))
        answer = port.digest() if words[0] == "digest" else "done"
        os.write(port.fd, answer.encode() + b"\n")


if __name__ == "__main__":
    main()
