"""Keeps QEMU no longer than its owner lives, whatever ends the owner.

Started as a program (`python keeper.py DIRECTORY COMMAND...`) with a pipe from its owner as standard input. It
runs COMMAND and waits for the pipe's end, which comes when the owner closes it or dies, by SIGKILL too. Then
it kills COMMAND and removes DIRECTORY. If the keeper itself is killed, the kernel kills COMMAND. When COMMAND
ends by itself, its exit status goes to standard output as a line (negative: the signal that ended it).
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys


def main(directory: str, command: list[str]) -> None:
    """Run `command` until standard input ends, then remove `directory`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        ended = os.pidfd_open(process.pid)
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            print(process.wait(), flush=True)
            # The directory stays until the owner lets go of it: it may want to read why QEMU ended.
            select.select([0], [], [])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def command_line(directory: str, command: list[str]) -> list[str]:
    """The command that starts a keeper of `directory` and `command`."""
    bound = ["setpriv", "--pdeathsig", "KILL", *command]
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), directory, *bound]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
