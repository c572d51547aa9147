"""Show the agent at work: `make run`, or `make run LOOPBACK=1`."""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError
from lab.machine import Machine
from tools.guest import AGENT_PORT, agent_files

PHOENIXCTL = str(Path(sys.executable).parent / "phoenixctl")
DIALOGUE = (
    '{ "execute": "get-commands", "tag": "abc" }',
    '{ "execute": "ping", "tag": "def" }',
)
# What the demonstration must not do to the machine that it runs on.
LOOPBACK_BLOCK = "fs-freeze,ipaddr-*,linux-ipaddr-*,net-iface-*,route-*"
START_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0


class DemonstrationError(Exception):
    """A step did not do what it should."""


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n=== {text}", flush=True)


def run(*words: str) -> str:
    """Run phoenixctl where the reader sees the command and its output; return the output."""
    print(f"$ phoenixctl {shlex.join(words)}", flush=True)
    result = subprocess.run([PHOENIXCTL, *words], stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise DemonstrationError(f"phoenixctl {words[0]} ended with status {result.returncode}")
    return result.stdout


def speak_through_socat(socket: Path) -> None:
    """Type the dialogue into the real socat."""
    command = ["socat", "-", f"UNIX-CONNECT:{socket}"]
    print(f"$ {shlex.join(command)}", flush=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as socat:
        assert socat.stdin is not None
        assert socat.stdout is not None
        signal.signal(signal.SIGALRM, lambda *_: socat.kill())
        signal.alarm(int(ANSWER_TIMEOUT))
        for line in DIALOGUE:
            print(line, flush=True)
            socat.stdin.write(line + "\n")
            answer = socat.stdout.readline()
            print(answer, end="", flush=True)
            if not answer or json.loads(answer)["tag"] != json.loads(line)["tag"]:
                raise DemonstrationError("the agent did not answer")
        signal.alarm(0)


def copy_there_and_back(socket: Path, guest_path: str, directory: Path) -> None:
    """Copy a file in and out, and compare."""
    sent, received = directory / "sent", directory / "received"
    sent.write_bytes(os.urandom(1_000_000))
    run("cp", str(sent), f"{socket}:{guest_path}")
    run("cp", f"{socket}:{guest_path}", str(received))
    if not filecmp.cmp(sent, received, shallow=False):
        raise DemonstrationError("the file came back changed")
    print(f"$ cmp {sent} {received}\n(no difference)")


def change_network(socket: Path) -> None:
    """Give the guest's card an address and show it."""
    guest = str(socket)
    run("raw", guest, "ipaddr-add", "ip=192.0.2.10/24", "ifname=eth0")
    run("raw", guest, "net-iface-up", "ifname=eth0")
    run("raw", guest, "route-add", "ifname=eth0", "dst=198.51.100.0/24", "gateway=192.0.2.1")
    if "192.0.2.10/24" not in run("raw", guest, "get-netifaces"):
        raise DemonstrationError("the address is not there")
    if "198.51.100.0" not in run("raw", guest, "get-route-list", "family=2"):
        raise DemonstrationError("the route is not there")


def freeze_and_thaw(socket: Path) -> None:
    """Freeze the filesystems and thaw them."""
    for verb in ("freeze", "freeze-status", "thaw", "freeze-status"):
        run(verb, str(socket))


def show(socket: Path, guest_path: str, directory: Path) -> None:
    """Show what works on a guest and on this machine alike."""
    say("the dialogue of the README, typed into socat")
    speak_through_socat(socket)
    say("what the guest is")
    run("info", str(socket))
    say("a file goes in and comes out")
    copy_there_and_back(socket, guest_path, directory)


def offer(socket: Path) -> None:
    """On a terminal, leave everything up until Enter is pressed."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        return
    say("it stays up until you press Enter. In another terminal, try:")
    for words in (
        f"{PHOENIXCTL} ping {socket}",
        f"{PHOENIXCTL} info {socket}",
        f"{PHOENIXCTL} cp /etc/hostname {socket}:/tmp/copied",
        f"{PHOENIXCTL} raw {socket} directory-list path=/tmp",
        f"{PHOENIXCTL} raw {socket} file-stat path=/etc/passwd",
        f"socat - UNIX-CONNECT:{socket}",
    ):
        print(f"    {words}")
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        input()


def demonstrate_guest() -> None:
    """Boot a guest in which systemd runs the agent, and show everything."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        say("booting a guest with the agent")
        with Machine(network=True, files=agent_files(directory / "phoenix-ga.pyz")) as machine:
            socket = machine.socket(AGENT_PORT)
            run("ping", "-c", "3", str(socket))
            show(socket, "/root/received", directory)
            say("the guest's network is changed")
            change_network(socket)
            say("the guest's filesystems are frozen and thawed")
            freeze_and_thaw(socket)
            offer(socket)
            say("the guest is shut down")
            machine.shutdown()


@contextlib.contextmanager
def loopback_agent(directory: Path) -> Iterator[Path]:
    """Run the agent as a process of this machine; yield its socket."""
    socket = directory / "agent.sock"
    command = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{socket}", "--block", LOOPBACK_BLOCK]
    process = subprocess.Popen([*command, "-c", os.devnull, "--run-directory", str(directory / "run")])
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemonstrationError("the agent did not start")
            time.sleep(0.01)
        yield socket
    finally:
        process.terminate()
        process.wait()


def demonstrate_loopback() -> None:
    """Run the agent on this machine, and show what can't harm it."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        say(f"starting the agent on this machine; its policy blocks {LOOPBACK_BLOCK}")
        with loopback_agent(directory) as socket:
            run("ping", "-c", "3", str(socket))
            show(socket, f"{directory}/in the guest", directory)
            offer(socket)


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the agent at work.")
    parser.add_argument("--loopback", action="store_true", help="on this machine, without a guest and without root")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if shutil.which("socat") is None:
            raise DemonstrationError("socat is missing: apt-get install socat")
        if options.loopback:
            demonstrate_loopback()
        else:
            demonstrate_guest()
    except (DemonstrationError, LabError, OSError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nEverything worked.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
