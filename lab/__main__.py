"""The lab's command line: `python -m lab --help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from pathlib import Path
from typing import TYPE_CHECKING

from lab import requirements
from lab.disks import DiskSpec
from lab.errors import LabError
from lab.files import Source
from lab.image import cache_directory, clean, ensure_image
from lab.progress import stage

if TYPE_CHECKING:
    from lab.machine import Machine

_ESCAPE = b"\x1d"  # Ctrl-]


def main(arguments: list[str] | None = None) -> int:
    """Run one of the lab's commands and return its exit status."""
    options = _parser().parse_args(arguments)
    # The exception destroys the machine as it leaves the `with` block.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status: int = options.command(options)
        return status
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="Build a Debian guest image and boot virtual machines from it."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    setup = commands.add_parser("setup", help="Install the Debian packages that the lab needs (as root).")
    setup.set_defaults(command=_setup)

    build = commands.add_parser("build", help="Build the guest image, unless the cache has it.")
    build.add_argument("--force", action="store_true", help="Build the image even if the cache has it.")
    build.set_defaults(command=_build)

    boot = commands.add_parser("boot", help="Boot a guest and open a root shell in it on this terminal.")
    _add_machine_options(boot)
    boot.set_defaults(command=_boot)

    run = commands.add_parser("run", help="Boot a guest, run one command in it, and exit with its status.")
    _add_machine_options(run)
    run.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="Time limit for the command (default: 300)."
    )
    run.add_argument("words", nargs="+", metavar="WORD", help="The command, for bash; write -- before it.")
    run.set_defaults(command=_run)

    remove = commands.add_parser("clean", help="Remove all images from the cache.")
    remove.set_defaults(command=_clean)

    for command in (build, boot, run):
        command.add_argument(
            "--release", metavar="NAME", help="Debian release of the guest, such as trixie (default: this host's)."
        )
    return parser


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        action="append",
        metavar="NAME",
        help="Add a virtio-serial port; can be repeated (default: org.guest-agent.0 and org.qemu.guest_agent.0).",
    )
    parser.add_argument(
        "--disk", action="append", default=[], metavar="SIZE", help="Add an empty disk, such as 64M; can be repeated."
    )
    parser.add_argument("--network", action="store_true", help="Add a network card with no way out of the guest.")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="SRC:DST",
        help="Copy a file or directory SRC of the host to DST in the guest before it boots; can be repeated.",
    )
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="Size of the memory (default: 512M).")
    parser.add_argument("--overlay", type=Path, metavar="FILE", help="Keep the changes to the root disk in FILE.")


def _setup(options: argparse.Namespace) -> int:
    packages = requirements.missing_packages()
    if packages:
        requirements.install(packages)
    else:
        print("lab: everything is installed", file=sys.stderr)
    return 0


def _build(options: argparse.Namespace) -> int:
    print(ensure_image(options.release, force=options.force).directory)
    return 0


def _clean(options: argparse.Namespace) -> int:
    for path in clean():
        print(f"lab: removed {path}", file=sys.stderr)
    print(f"lab: {cache_directory()} is empty", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace) -> int:
    with contextlib.closing(_machine(options)) as machine:
        _start(machine)
        command = options.words[0] if len(options.words) == 1 else " ".join(options.words)
        result = machine.run(command, timeout=options.timeout, check=False)
    sys.stdout.buffer.write(result.output)
    sys.stdout.buffer.flush()
    return result.status


def _boot(options: argparse.Namespace) -> int:
    if not sys.stdin.isatty():
        raise LabError("boot needs a terminal; to run a command without one, type: python -m lab run -- COMMAND")
    with contextlib.closing(_machine(options, "lab.console")) as machine:
        _start(machine)
        for port in machine.ports:
            print(f"lab: {port} is at {machine.socket(port)}", file=sys.stderr)
        print("lab: this is a root shell in the guest; 'poweroff' or Ctrl-] ends the guest", file=sys.stderr)
        _join_console(machine.console_socket)
    return 0


def _start(machine: Machine) -> None:
    with stage("the guest is booting", machine.last_message):
        machine.start()


def _machine(options: argparse.Namespace, *kernel_arguments: str) -> Machine:
    # Not at the top: building an image does not need qemu.qmp.
    from lab.machine import DEFAULT_PORTS, Machine

    files: dict[str, Source] = {}
    for pair in options.file:
        source, _, target = pair.partition(":")
        if not target.startswith("/") or not Path(source).exists():
            raise LabError(f"--file {pair}: expected SRC:DST; SRC must exist here and DST must be an absolute path")
        files[target] = Path(source)
    return Machine(
        ports=options.port or DEFAULT_PORTS,
        disks=[DiskSpec(size=size) for size in options.disk],
        network=options.network,
        files=files,
        memory=options.memory,
        overlay=options.overlay,
        image=ensure_image(options.release),
        kernel_arguments=kernel_arguments,
    )


def _join_console(path: Path) -> None:
    """Connect the terminal to the guest's console until the guest is off or Ctrl-] is pressed."""
    before = termios.tcgetattr(0)
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(path))
        console.sendall(b"\r")
        tty.setraw(0)
        try:
            while True:
                for source in select.select([0, console], [], [])[0]:
                    if source is console:
                        data = console.recv(65536)
                        if not data:
                            return
                        os.write(1, data)
                    else:
                        typed = os.read(0, 4096)
                        if not typed or _ESCAPE in typed:
                            return
                        console.sendall(typed)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
