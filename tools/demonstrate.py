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
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError
from lab.progress import stage
from lab.requirements import missing_packages
from tools import prepare

GUEST_NAME = "phoenix-demo"
DIALOGUE = (
    '{ "execute": "get-commands", "tag": "abc" }',
    '{ "execute": "ping", "tag": "def" }',
)
# What the demonstration must not do to the machine that it runs on.
LOOPBACK_BLOCK = "fs-freeze,ipaddr-*,linux-ipaddr-*,net-iface-*,route-*"
#: Time limits in seconds. They only end what hangs: a busy machine may need minutes.
START_TIMEOUT = 120.0
ANSWER_TIMEOUT = 120.0
# The variable is set for the process that runs in the Python that was prepared.
_PREPARED = "PHOENIX_DEMONSTRATION_PREPARED"


class DemonstrationError(Exception):
    """A step did not do what it should."""


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n=== {text}", flush=True)


class Demonstration:
    """The steps that work on a guest and on this machine alike.

    Args:
        guest: What phoenixctl calls the guest: its name, or the socket of its port.
        socket: The host's end of the agent's port.
        directory: A directory for temporary files.
    """

    def __init__(self, guest: str, socket: Path, directory: Path) -> None:
        self.guest = guest
        self.socket = socket
        self.directory = directory

    def run(self, *words: str) -> str:
        """Show a command of phoenixctl and its output, and return the output. Raises DemonstrationError."""
        print(f"$ phoenixctl {shlex.join(words)}", flush=True)
        command = [sys.executable, "-m", "phoenix_ga.cli", "--timeout", str(ANSWER_TIMEOUT), *words]
        # In a session of its own: Ctrl-C ends this program, which ends the command.
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, start_new_session=True)
        print(result.stdout, end="", flush=True)
        if result.returncode != 0:
            raise DemonstrationError(f"phoenixctl {words[0]} ended with status {result.returncode}")
        return result.stdout

    def expect(self, text: str, *words: str) -> None:
        """Run phoenixctl and check that `text` is in its output. Raises DemonstrationError."""
        if text not in self.run(*words):
            raise DemonstrationError(f"phoenixctl {words[0]} did not print {text!r}")

    def talk_by_hand(self) -> None:
        """Send the dialogue of the README, through socat if it is installed."""
        command = ["socat", "-", f"UNIX-CONNECT:{self.socket}"]
        if shutil.which("socat") is None:
            print(
                f"(socat is not installed; a socket of Python does what this command does)\n$ {shlex.join(command)}"
            )
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.socket))
                self._dialogue(connection)
            return
        print(f"$ {shlex.join(command)}", flush=True)
        ours, theirs = socket.socketpair()
        with (
            ours,
            subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            ) as process,
        ):
            theirs.close()
            try:
                self._dialogue(ours)
            finally:
                process.kill()

    @staticmethod
    def _dialogue(connection: socket.socket) -> None:
        connection.settimeout(ANSWER_TIMEOUT)
        with connection.makefile("r", encoding="utf-8") as answers:
            for line in DIALOGUE:
                print(line, flush=True)
                connection.sendall(f"{line}\n".encode())
                answer = answers.readline()
                print(answer, end="", flush=True)
                if not answer or json.loads(answer)["tag"] != json.loads(line)["tag"]:
                    raise DemonstrationError("the agent did not answer")

    def copy(self, guest_path: str) -> None:
        """Copy a file into the guest and back, and compare."""
        sent, received = self.directory / "sent", self.directory / "received"
        sent.write_bytes(os.urandom(1_000_000))
        self.run("cp", str(sent), f"{self.guest}:{guest_path}")
        self.run("cp", f"{self.guest}:{guest_path}", str(received))
        if not filecmp.cmp(sent, received, shallow=False):
            raise DemonstrationError("the file that came back is different")
        print(f"$ cmp {sent} {received}\n(no difference)")

    def show_basics(self, guest_path: str) -> None:
        """Show what cannot harm the machine on which the agent runs."""
        self.run("ping", "-c", "3", self.guest)
        say("a client by hand: lines of JSON")
        self.talk_by_hand()
        say("what the guest is")
        self.run("info", self.guest)
        say("a program runs in the guest")
        self.expect("Python 3", "exec", self.guest, "--", "python3", "--version")
        say("a file is copied into the guest and back")
        self.copy(guest_path)
        self.run("ls", f"{self.guest}:{guest_path}")

    def change_network(self) -> None:
        """Configure the guest's network card."""
        self.run("ip", self.guest, "addr", "add", "192.0.2.10/24", "dev", "eth0")
        self.run("ip", self.guest, "link", "set", "eth0", "up")
        self.run("ip", self.guest, "route", "add", "198.51.100.0/24", "via", "192.0.2.1", "dev", "eth0")
        self.expect("192.0.2.10/24", "ip", self.guest, "addr")
        self.expect("198.51.100.0/24", "ip", self.guest, "route")

    def freeze_and_thaw(self) -> None:
        """Freeze the guest's filesystems and thaw them."""
        self.run("freeze", self.guest)
        self.expect("frozen", "freeze-status", self.guest)
        self.run("thaw", self.guest)
        self.expect("thawed", "freeze-status", self.guest)

    def offer(self, *, named: bool) -> None:
        """On a terminal, suggest commands and wait until Enter is pressed."""
        if not sys.stdin.isatty() or not sys.stdout.isatty():
            return
        say("the guest stays up until you press Enter. In another terminal, try:")
        script = Path(sys.executable).parent / "phoenixctl"
        if script.exists():
            print(f"    . {shlex.quote(str(script.parent))}/activate")
        else:
            alias = f"PYTHONPATH={prepare.ROOT}/src {sys.executable} -m phoenix_ga.cli"
            print(f"    alias phoenixctl={shlex.quote(alias)}")
        guest = self.guest
        for words in (
            *(("guests",) if named else ()),
            f"shell {guest}",
            f"exec {guest} -- uname -a",
            f"ls {guest}:/etc",
            f"cp /etc/hostname {guest}:/tmp/copied",
            f"info {guest}",
        ):
            print(f"    phoenixctl {words}")
        print(f"    socat - UNIX-CONNECT:{self.socket}", flush=True)
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            input()


def demonstrate_guest(release: str | None) -> None:
    """Boot a guest in which systemd runs the agent, and show everything."""
    # They need packages that `prepare` installs.
    from lab.image import ensure_image
    from lab.machine import Machine
    from tools.guest import AGENT_PORT, agent_files, wait_for_agent

    with tempfile.TemporaryDirectory(prefix="phoenix-demo-") as name:
        directory = Path(name)
        image = ensure_image(release)
        with stage("building the agent"):
            files = agent_files(directory / "phoenix-ga.pyz")
        machine = Machine(name=_free_name(), network=True, files=files, image=image)
        with contextlib.closing(machine):
            with stage("the guest is booting", machine.last_message):
                machine.start()
            agent_socket = machine.socket(AGENT_PORT)
            with stage("the agent is starting", machine.last_message):
                wait_for_agent(agent_socket)
            demonstration = Demonstration(machine.name, agent_socket, directory)
            say(f"the guest {machine.name} is up, and its agent answers")
            demonstration.expect(machine.name, "guests")
            demonstration.show_basics("/root/received")
            say("the guest's network is configured")
            demonstration.change_network()
            say("the guest's filesystems are frozen and thawed")
            demonstration.freeze_and_thaw()
            demonstration.offer(named=True)
            say("the guest is shut down")
            with stage("the guest is shutting down", machine.last_message):
                machine.shutdown()


def _free_name() -> str:
    """Return a name that no other guest of this host has."""
    from phoenix_ga.client.discovery import known_guests

    taken = {guest.name for guest in known_guests()}
    name, number = GUEST_NAME, 1
    while name in taken:
        number += 1
        name = f"{GUEST_NAME}-{number}"
    return name


@contextlib.contextmanager
def loopback_agent(directory: Path) -> Iterator[Path]:
    """Run the agent as a process of this machine; yield its socket."""
    path = directory / "agent.sock"
    command = [sys.executable, "-m", "phoenix_ga.agent", "-p", f"unix:{path}", "--block", LOOPBACK_BLOCK]
    command += ["-c", os.devnull, "--run-directory", str(directory / "run")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemonstrationError("the agent did not start")
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


def demonstrate_loopback() -> None:
    """Run the agent on this machine, and show what cannot harm it."""
    with tempfile.TemporaryDirectory(prefix="phoenix-demo-") as name:
        directory = Path(name)
        say(f"the agent starts on this machine; its policy blocks {LOOPBACK_BLOCK}")
        with loopback_agent(directory) as path:
            demonstration = Demonstration(str(path), path, directory)
            demonstration.show_basics(f"{directory}/in the guest")
            demonstration.offer(named=False)


def continue_prepared(*, loopback: bool) -> None:
    """Install what is missing, and run this program again with the Python that has it. Raises LabError."""
    packages = [] if loopback else missing_packages()
    if packages and os.geteuid() == 0 and shutil.which("socat") is None:
        packages.append("socat")
    python = prepare.python_for(prepare.HOST if loopback else prepare.GUEST, packages)
    path = os.pathsep.join(filter(None, [str(prepare.ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, _PREPARED: "1"}
    os.execve(python, [str(python), "-m", "tools.demonstrate", *sys.argv[1:]], environment)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description="Show the agent at work.")
    parser.add_argument("--loopback", action="store_true", help="Run the agent on this machine, without a guest.")
    parser.add_argument("--release", help="Debian release of the guest, such as trixie (default: this host's).")
    options = parser.parse_args()
    # The exceptions clean up on their way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(128 + signal.SIGHUP))
    try:
        if os.environ.get(_PREPARED) != "1":
            continue_prepared(loopback=options.loopback)
        if options.loopback:
            demonstrate_loopback()
        else:
            demonstrate_guest(options.release)
    except (DemonstrationError, LabError, OSError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print("\nEverything worked.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
