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
    """Run one of the lab's commands; returns its exit status."""
    options = _parser().parse_args(arguments)
    # As an exception it takes the machine down on its way out.
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

    setup = commands.add_parser("setup", help="install the Debian packages the lab needs on this host (as root)")
    setup.set_defaults(command=_setup)

    build = commands.add_parser("build", help="build the guest image, unless the cache has it")
    build.add_argument("--force", action="store_true", help="build it even if the cache has it")
    build.set_defaults(command=_build)

    boot = commands.add_parser("boot", help="boot a guest and work in it from this terminal, as root")
    _add_machine_options(boot)
    boot.set_defaults(command=_boot)

    run = commands.add_parser("run", help="boot a guest, run one command in it, exit with its status")
    _add_machine_options(run)
    run.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="for the command (default: 300)")
    run.add_argument("words", nargs="+", metavar="WORD", help="the command, for bash; put -- in front of it")
    run.set_defaults(command=_run)

    remove = commands.add_parser("clean", help="remove the images from the cache")
    remove.set_defaults(command=_clean)

    for command in (build, boot, run):
        command.add_argument(
            "--suite", metavar="NAME", help="the guest's Debian release, e.g. trixie (default: this host's)"
        )
    return parser


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        action="append",
        metavar="NAME",
        help="a virtio-serial port; may be repeated (default: org.guest-agent.0 and org.qemu.guest_agent.0)",
    )
    parser.add_argument(
        "--disk", action="append", default=[], metavar="SIZE", help="an empty disk, e.g. 64M; may be repeated"
    )
    parser.add_argument("--network", action="store_true", help="a network card with no way out of the guest")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="SRC:DST",
        help="put the host's file or directory SRC at DST in the guest before it boots; may be repeated",
    )
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="memory (default: 512M)")
    parser.add_argument("--overlay", type=Path, metavar="FILE", help="keep the root disk's changes in FILE")


def _setup(options: argparse.Namespace) -> int:
    packages = requirements.missing_packages()
    if not packages:
        print("lab: everything is installed", file=sys.stderr)
        return 0
    if os.geteuid() != 0:
        print(f"lab: run as root: {' '.join(requirements.install_command(packages))}", file=sys.stderr)
        return 1
    requirements.install(packages)
    return 0


def _build(options: argparse.Namespace) -> int:
    print(ensure_image(options.suite, force=options.force).directory)
    return 0


def _clean(options: argparse.Namespace) -> int:
    for path in clean():
        print(f"lab: removed {path}", file=sys.stderr)
    print(f"lab: {cache_directory()} is empty", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace) -> int:
    with contextlib.closing(_machine(options)) as machine:
        with stage("boot"):
            machine.start()
        command = options.words[0] if len(options.words) == 1 else " ".join(options.words)
        result = machine.run(command, timeout=options.timeout, check=False)
    sys.stdout.buffer.write(result.output)
    sys.stdout.buffer.flush()
    return result.status


def _boot(options: argparse.Namespace) -> int:
    if not sys.stdin.isatty():
        raise LabError("boot needs a terminal; to run a command without one: python -m lab run -- COMMAND")
    with contextlib.closing(_machine(options, "lab.console")) as machine:
        with stage("boot"):
            machine.start()
        for port in machine.ports:
            print(f"lab: {port} is at {machine.socket(port)}", file=sys.stderr)
        print("lab: root's shell follows; 'poweroff' or Ctrl-] ends the guest", file=sys.stderr)
        _converse(machine.console_socket)
    return 0


def _machine(options: argparse.Namespace, *kernel_arguments: str) -> Machine:
    # Only here: building an image needs no qemu.qmp.
    from lab.machine import DEFAULT_PORTS, Machine

    files: dict[str, Source] = {}
    for pair in options.file:
        source, _, target = pair.partition(":")
        if not target.startswith("/") or not Path(source).exists():
            raise LabError(f"--file {pair}: it has to be SRC:DST, SRC existing here and DST an absolute path")
        files[target] = Path(source)
    return Machine(
        ports=options.port or DEFAULT_PORTS,
        disks=[DiskSpec(size=size) for size in options.disk],
        network=options.network,
        files=files,
        memory=options.memory,
        overlay=options.overlay,
        image=ensure_image(options.suite),
        kernel_arguments=kernel_arguments,
    )


def _converse(path: Path) -> None:
    """Join the terminal to the guest's console until the guest is off or Ctrl-] is pressed."""
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
