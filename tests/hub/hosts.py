"""Other hosts: real sshd servers of this machine, each with its guests, possibly in a network of its own."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from phoenix_ga.client.ssh import COMMAND_VARIABLE
from tests import process_tree
from tests.network import ip, ip_batch, new_namespace
from tests.support import SOURCE, TIMEOUT, wait_for


class OtherHost:
    """An sshd, in whose sessions `phoenixctl` finds the given guests.

    Attributes:
        address: where it listens.
        port: where it listens.
        destination: of ssh, with the port.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        guests: Mapping[str, str],
        address: str = "127.0.0.1",
        port: int = 0,
        settings: str = "",
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.address = address
        self.port = port or _free_port()
        key = self.directory / "host_key"
        make_key(key)
        self._write_guests(guests)
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "phoenixctl").write_text(
            f'#!/bin/sh\nPYTHONPATH={SOURCE} exec {sys.executable} -m phoenix_ga.cli "$@"\n'
        )
        (programs / "phoenixctl").chmod(0o755)
        # In a namespace of its own, it gets its address later.
        listen = "0.0.0.0" if port else address
        (self.directory / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {listen}\nHostKey {key}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {directory}/client_key.pub\nUsePAM no\n{settings}\n"
            f"SetEnv PATH={programs}:/usr/bin:/bin XDG_CONFIG_HOME={self.directory}/xdg "
            f"PHOENIX_HUB_DIRECTORY={self.directory}/hub\n"
        )
        program = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")
        assert program is not None
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*wrapper, program, "-D", "-e", "-f", str(self.directory / "sshd_config")], stderr=subprocess.DEVNULL
        )

    def _write_guests(self, guests: Mapping[str, str]) -> None:
        configuration = self.directory / "xdg" / "phoenix" / "config.toml"
        configuration.parent.mkdir(parents=True)
        lines = [f'"{guest}" = "{endpoint}"' for guest, endpoint in guests.items()]
        configuration.write_text("\n".join(["sources = []", "[guests]", *lines, ""]))

    def wait_until_it_listens(self) -> None:
        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((self.address, self.port)) == 0

        wait_for(listens)

    def stop(self) -> None:
        """End the server and its sessions."""
        for pid in [*_descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)

    @property
    def destination(self) -> str:
        return f"{getpass.getuser()}@{self.address}:{self.port}"


class Network:
    """Hosts in network namespaces of their own, each with a wire to the namespace of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self.hosts: dict[str, OtherHost] = {}

    def add(self, name: str, guests: Mapping[str, str], settings: str = "") -> OtherHost:
        """Start a host."""
        number = next(self._numbers)
        with new_namespace():
            ip("link", "set", "lo", "up")
            host = OtherHost(self._directory, name, guests, f"10.83.{number}.2", 22, settings)
        self.hosts[name] = host
        pid = host.process.pid
        ip_batch(
            f"link add {name} type veth peer name eth0 netns {pid}",
            f"address add 10.83.{number}.1/24 dev {name}",
            f"link set {name} up",
        )
        for words in (f"address add {host.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *words.split()], check=True)
        host.wait_until_it_listens()
        return host

    def silence(self, name: str) -> None:
        """Let a host, and what is sent to it, vanish without a word."""
        ip_batch(f"neigh replace {self.hosts[name].address} lladdr 02:00:00:00:00:01 nud permanent dev {name}")

    def stop(self) -> None:
        for host in self.hosts.values():
            host.stop()


def write_ssh_config(directory: Path) -> Path:
    """Make a key of a client, and a configuration with it, without a look at the user's own."""
    make_key(directory / "client_key")
    path = directory / "ssh_config"
    path.write_text(
        f"IdentityFile {directory}/client_key\nIdentitiesOnly yes\nBatchMode yes\n"
        f"StrictHostKeyChecking accept-new\nUserKnownHostsFile {directory}/known_hosts\n"
    )
    return path


def make_key(path: Path) -> None:
    """Make a key pair for ssh."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def ssh_client(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this user have a configuration of ssh and of phoenixctl below `directory`; end its connections at last."""
    # ssh's own limit of a socket's path is about 100 characters.
    runtime = Path("/tmp", f"phoenix-test-{os.getpid()}-{time.monotonic_ns() % 1000000}")
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv(COMMAND_VARIABLE, f"ssh -F {write_ssh_config(directory)}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "xdg"))
    try:
        yield
    finally:
        subprocess.run(["pkill", "-f", str(runtime)])
        # ssh removes its socket at the same time.
        shutil.rmtree(runtime, ignore_errors=True)


def write_hosts(directory: Path, hosts: Mapping[str, str]) -> None:
    """Write the hosts that phoenixctl knows."""
    configuration = directory / "xdg" / "phoenix" / "config.toml"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(destination)}" for name, destination in hosts.items()]
    configuration.write_text("\n".join(["sources = []", "[hosts]", *lines, ""]))


def start_phoenixctl(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "phoenix_ga.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def finish(process: subprocess.Popen[str], timeout: float = 55) -> subprocess.CompletedProcess[str]:
    """Return what a program has printed, and its status."""
    try:
        output, error = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def phoenixctl(*words: str, timeout: float = 55) -> subprocess.CompletedProcess[str]:
    return finish(start_phoenixctl(*words), timeout)


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [each for child in process_tree.children(pid) for each in (child, *_descendants(child))]
    return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
