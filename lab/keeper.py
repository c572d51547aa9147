"""Run QEMU and kill it when its owner ends, even by SIGKILL.

The owner starts this as a program (`python keeper.py DIRECTORY COMMAND...`) with a pipe as standard input. The
keeper runs COMMAND and waits for EOF on the pipe: the owner has closed it or has ended. Then it kills COMMAND and
removes DIRECTORY. If the keeper itself is killed, the kernel kills COMMAND. If COMMAND ends first, the keeper writes
its exit status to standard output as a line (negative: the signal that ended it).
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys


def main(directory: str, command: list[str]) -> None:
    """Run `command` until EOF on standard input, then remove `directory`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        ended = os.pidfd_open(process.pid)
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            print(process.wait(), flush=True)
            # The owner may want to read in the directory why QEMU ended.
            select.select([0], [], [])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def command_line(directory: str, command: list[str]) -> list[str]:
    """Return the command that starts a keeper for `directory` and `command`."""
    bound = ["setpriv", "--pdeathsig", "KILL", *command]
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), directory, *bound]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
