"""PostgreSQL in a guest, with its data on one disk and its write-ahead log on another, and clients that commit."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.files import GuestFile, Source
from lab.libvirt import Domain
from lab.machine import Machine
from tests.guest.backup_guest import acknowledged
from tests.support import wait_for

#: Disk -> its size.
DISKS = {"data": "192M", "wal": "320M"}
_PROGRAMS = Path("/usr/lib/postgresql")
_SHARED = Path("/usr/share/postgresql")
# Commits one number after the other, and writes to a tmpfs what the server has confirmed.
_COMMITTER = b"""
import os, subprocess, sys
words = ["/pg/psql", "-h", "/run/pg", "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "postgres"]
psql = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
table = sys.argv[1]
acknowledged = os.open(f"/run/acked-{table}", os.O_WRONLY | os.O_CREAT)
number = 0
while True:
    number += 1
    row = b"INSERT INTO %s VALUES (%d, repeat(md5('%d'), 60)) RETURNING n;\\n"
    psql.stdin.write(row % (table.encode(), number, number))
    psql.stdin.flush()
    assert int(psql.stdout.readline()) == number
    os.pwrite(acknowledged, b"%020d" % number, 0)
"""
_TABLES = ("one", "two")
_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '/run/pg'
timezone = 'GMT'
log_timezone = 'GMT'
shared_buffers = 16MB
max_wal_size = 16MB
min_wal_size = 4MB
max_connections = 10
jit = off
wal_level = replica
"""
_PREPARE = """set -e
useradd -M postgres
mkfs.ext4 -q /dev/disk/by-id/virtio-data; mkfs.xfs -q /dev/disk/by-id/virtio-wal; mkdir -p /m/data /m/wal
mount /dev/disk/by-id/virtio-data /m/data; mount /dev/disk/by-id/virtio-wal /m/wal
mv /pg/cluster /m/data/; mv /m/data/cluster/pg_wal /m/wal/; ln -s /m/wal/pg_wal /m/data/cluster/
chown -R postgres /m/data /m/wal; chmod 700 /m/data/cluster
"""
_START = """set -e
mkdir -p /run/pg; chown postgres /run/pg; cd /
setsid --fork runuser -u postgres -- /pg/postgres -D /m/data/cluster > /run/postgres.log 2>&1 < /dev/null
"""
_MOUNT = """set -e
udevadm wait --timeout=60 /dev/disk/by-id/virtio-data /dev/disk/by-id/virtio-wal
mount /dev/disk/by-id/virtio-data /m/data; mount /dev/disk/by-id/virtio-wal /m/wal
rm /m/data/cluster/postmaster.pid
"""


@contextlib.contextmanager
def files() -> Iterator[dict[str, Source]]:
    """Yield the files of a server and a cluster for a guest of the same release as this machine."""
    versions = sorted(_PROGRAMS.glob("*/bin/postgres"))
    if not versions:
        pytest.skip("postgresql is missing")
    programs = versions[-1].parent
    found: dict[str, Source] = {"/pg/committer.py": _COMMITTER}
    for name in ("postgres", "psql"):
        found[str(programs / name)] = programs / name
        found[f"/pg/{name}"] = GuestFile(
            f'#!/bin/sh\nLD_LIBRARY_PATH=/pg/lib exec {programs / name} "$@"\n'.encode(), mode=0o755
        )
        for library in _libraries(programs / name):
            found[f"/pg/lib/{library.name}"] = library
    # The server looks for the directory.
    module = programs.parent / "lib/plpgsql.so"
    found[str(module)] = module
    shared = _SHARED / programs.parent.name
    found[str(shared)] = shared
    # Other users cannot reach the directories of pytest.
    with tempfile.TemporaryDirectory(prefix="phoenix-cluster-") as directory:
        found["/pg/cluster"] = _cluster(programs, Path(directory))
        yield found


def _libraries(program: Path) -> list[Path]:
    """Return the libraries of a program but those of the libc, which the guest has."""
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [Path(line.split()[2]) for line in lines if "=> /" in line]
    return [path for path in paths if not path.name.startswith(("libc.", "libm.", "libdl.", "libpthread.", "librt."))]


def _cluster(programs: Path, directory: Path) -> Path:
    """Make a cluster on this machine: that takes long in a guest."""
    directory.chmod(0o777)
    words = ["-D", str(directory / "cluster"), "--no-sync", "--wal-segsize=1", "-U", "postgres", "--no-locale"]
    subprocess.run(["runuser", "-u", "postgres", "--", programs / "initdb", *words], check=True, capture_output=True)
    with (directory / "cluster/postgresql.conf").open("a") as file:
        file.write(_SETTINGS)
    return directory / "cluster"


def start(guest: Machine | Domain) -> None:
    """Start the server, and clients that commit all the time."""
    _run(guest, _PREPARE, 120)
    _start_server(guest)
    for table in _TABLES:
        ask(guest, f"CREATE TABLE {table} (n int PRIMARY KEY, text text)")
        guest.run(f"setsid --fork python3 -IS /pg/committer.py {table} > /run/{table}.log 2>&1 < /dev/null")
    wait_for(lambda: acknowledged(guest).keys() == set(_TABLES))


def ask(guest: Machine | Domain, statement: str) -> str:
    """Return what the server answers."""
    return _run(guest, f'/pg/psql -h /run/pg -U postgres -XAtqc "{statement}" postgres')


def problems(restored: Machine, before: dict[str, int]) -> list[str]:
    """Start the server in a guest of restored disks; return what is wrong with rows that were committed before."""
    _run(restored, _MOUNT)
    _start_server(restored)
    found = []
    for table, number in before.items():
        count, last = map(int, ask(restored, f"SELECT count(*), max(n) FROM {table}").split("|"))
        if count != last or last < number:
            found.append(f"{table}: {number} were committed, and there are {count}, the last of which is {last}")
    log = _run(restored, "cat /run/postgres.log")
    return found + [line for line in log.splitlines() if "PANIC" in line or "WARNING" in line or "corrupt" in line]


def _start_server(guest: Machine | Domain) -> None:
    _run(guest, _START)
    question = '/pg/psql -h /run/pg -U postgres -XAtqc "SELECT 1" postgres'
    try:
        wait_for(lambda: guest.run(f"{question} 2>&1 || true").text == "1")
    except AssertionError:
        pytest.fail(guest.run(f"{question}; cat /run/postgres.log; true").text)


def _run(guest: Machine | Domain, command: str, timeout: float = 60) -> str:
    result = guest.run(command, timeout=timeout)
    assert result.status == 0, result.text
    return result.text
