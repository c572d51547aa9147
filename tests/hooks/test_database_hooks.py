"""The hooks for databases, with real servers: what is restored from a copy of a frozen disk is complete."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.freeze.freezer import Freezer
from phoenix_ga.agent.operations.freeze.hooks import HookError
from tests.agent.loop_devices import Bench, OnlyBelow, run
from tests.support import wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

HOOKS = Path(__file__).parents[2] / "contrib" / "hooks"


class Place:
    """A directory that servers can reach, with a filesystem on a loop device, and a freezer that has one hook."""

    def __init__(self, directory: Path, hook: str, settings: str, size: str) -> None:
        self.directory = directory
        self.log: list[str] = []
        self.bench = Bench(directory)
        self.data = self.bench.make(directory / "image", "data", size=size)
        (directory / "settings").write_text(f"RUN_DIRECTORY={directory}/session\n{settings}")
        # The agent gives hooks an environment of its own.
        wrapper = directory / "hook"
        wrapper.write_text(f"#!/bin/sh\nSETTINGS={directory}/settings exec {HOOKS / hook} $1\n")
        wrapper.chmod(0o755)
        self.freezer = Freezer(self.log.append, str(directory / "run"), OnlyBelow(directory))
        self.freezer.hooks.paths = (str(wrapper),)

    def copy_frozen(self) -> Path:
        """Return a copy of the image, made while frozen, mounted elsewhere."""
        try:
            generation = self.freezer.freeze_recorded(time_limit=60).generation
        except HookError:
            pytest.fail("\n".join(self.log))
        try:
            shutil.copyfile(self.directory / "image", self.directory / "copy")
        finally:
            self.freezer.thaw(generation)
        restored = self.directory / "restored"
        restored.mkdir()
        self.bench.mount(self.directory / "copy", restored, "-o", "loop")
        return restored

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.freezer.thaw()
        self.bench.close()


@pytest.fixture
def make_place() -> Iterator[Callable[..., Place]]:
    # Other users cannot reach the directories of pytest.
    directory = Path(tempfile.mkdtemp(prefix="phoenix-hooks-"))
    directory.chmod(0o755)
    places: list[Place] = []

    def make(hook: str, settings: str = "", size: str = "160M") -> Place:
        places.append(Place(directory, hook, settings, size))
        return places[-1]

    yield make
    for place in places:
        place.close()
    shutil.rmtree(directory)


class Committer:
    """Commits one number after the other; `last` is the last one that the server has confirmed."""

    def __init__(self, commit: Callable[[int], object]) -> None:
        self.last = 0
        self._commit = commit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._commit(self.last + 1)
            self.last += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def postgresql(program: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    if not found:
        pytest.skip("postgresql is missing")
    return str(found[-1])


@contextlib.contextmanager
def running_postgresql(data: Path, sockets: Path) -> Iterator[Callable[[str], str]]:
    """Run a server, and yield a function that runs a statement."""
    words = ["runuser", "-u", "postgres", "--", postgresql("postgres"), "-D", data, "-k", sockets, "-h", ""]
    with (data.parent.parent / f"{data.parent.name}.log").open("wb") as log:
        server = subprocess.Popen([*map(str, words)], stdout=log, stderr=log)

    def ask(statement: str) -> str:
        words = ["runuser", "-u", "postgres", "--", "psql", "-h", str(sockets), "-XAtqc", statement, "postgres"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def answers() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return ask("SELECT 1") == "1"
        return False

    try:
        wait_for(answers)
        yield ask
    finally:
        # A fast shutdown: see pg_ctl(1).
        subprocess.run(["pkill", "-INT", "-P", str(server.pid)], check=False)
        server.send_signal(2)
        server.wait(60)


@pytest.mark.programs("psql")
def test_postgresql_restored_from_a_snapshot_has_all_that_was_committed(make_place: Callable[..., Place]) -> None:
    postgresql("postgres")
    place = make_place("postgresql")
    sockets = [place.directory / name for name in ("sockets1", "sockets2")]
    (place.directory / "settings").write_text(f"RUN_DIRECTORY={place.directory}/session\nPGHOST={sockets[0]}\n")
    for path in (*sockets, place.data):
        path.mkdir(exist_ok=True)
        shutil.chown(path, "postgres")
    data = place.data / "cluster"
    initdb = ["runuser", "-u", "postgres", "--", postgresql("initdb"), "-D", str(data), "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True)
    with (data / "postgresql.conf").open("a") as file:
        file.write("wal_level = replica\nmax_wal_size = 64MB\nmin_wal_size = 32MB\nshared_buffers = 16MB\n")
    with running_postgresql(data, sockets[0]) as ask:
        ask("CREATE TABLE numbers (n int PRIMARY KEY)")
        committer = Committer(lambda number: ask(f"INSERT INTO numbers VALUES ({number})"))
        try:
            wait_for(lambda: committer.last >= 3)
            before = committer.last
            restored = place.copy_frozen()
            after = committer.last
            wait_for(lambda: committer.last > after)
        finally:
            committer.stop()
        # The session has ended, and nothing is left of it.
        assert not (place.directory / "session").exists()
    (restored / "cluster" / "postmaster.pid").unlink()
    with running_postgresql(restored / "cluster", sockets[1]) as ask:
        count, last = map(int, ask("SELECT count(*), max(n) FROM numbers").split("|"))
        assert count == last
        assert last >= before
    text = (place.directory / "restored.log").read_text()
    assert "automatic recovery in progress" in text
    assert not re.search("PANIC|WARNING|corrupt|could not", text), text


@pytest.mark.programs("psql")
def test_postgresql_that_cannot_be_reached_fails_the_freeze(
    make_place: Callable[..., Place],
) -> None:
    place = make_place("postgresql", "PGHOST=/nowhere\n")
    with pytest.raises(HookError, match="fsfreeze hook has failed with status 1"):
        place.freezer.freeze()
    assert not place.freezer.frozen
    assert "No such file or directory" in "".join(place.log)
    assert not (place.directory / "session").exists()


@pytest.mark.programs("redis-server", "redis-cli")
def test_redis_restored_from_a_snapshot_has_what_was_written_before_the_freeze(
    make_place: Callable[..., Place],
) -> None:
    place = make_place("redis", size="32M")
    sockets = [place.directory / name for name in ("socket1", "socket2")]
    (place.directory / "settings").write_text(f'CLI="redis-cli -s {sockets[0]}"\n')

    @contextlib.contextmanager
    def running(data: Path, path: Path) -> Iterator[Callable[..., str]]:
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", path, "--dir", data, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(path.exists)
            yield lambda *words: run("redis-cli", "-s", path, *words)
        finally:
            server.kill()
            server.wait(30)

    with running(place.data, sockets[0]) as ask:
        for number in range(100):
            ask("SET", f"key{number}", str(number))
        restored = place.copy_frozen()
    with running(restored, sockets[1]) as ask:
        wait_for(lambda: "loading:0" in ask("INFO", "persistence"))
        assert ask("DBSIZE") == "100"


@pytest.mark.programs("mariadbd", "mariadb-install-db")
def test_mariadb_restored_from_a_snapshot_has_all_that_was_committed(make_place: Callable[..., Place]) -> None:
    place = make_place("mysql", size="400M")
    sockets = [place.directory / name for name in ("socket1", "socket2")]
    (place.directory / "settings").write_text(
        f'RUN_DIRECTORY={place.directory}/session\nMYSQL="mysql --no-defaults -S {sockets[0]}"\n'
    )
    data = place.data / "db"
    # Root may connect by the socket.
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)

    @contextlib.contextmanager
    def running(data: Path, path: Path) -> Iterator[Callable[[str], str]]:
        options = [f"--datadir={data}", f"--socket={path}", "--skip-networking", "--user=root"]
        log = place.directory / f"{path.name}.log"
        with log.open("wb") as file:
            server = subprocess.Popen(["mariadbd", "--no-defaults", *options], stdout=file, stderr=file)
        try:
            wait_for(lambda: "ready for connections" in log.read_text(errors="replace"))
            yield lambda statement: run("mysql", "--no-defaults", "-S", path, "-BNe", statement)
        finally:
            server.terminate()
            server.wait(60)

    with running(data, sockets[0]) as ask:
        ask("CREATE DATABASE d; CREATE TABLE d.inno (n int PRIMARY KEY) ENGINE=InnoDB")
        ask("CREATE TABLE d.my (n int PRIMARY KEY) ENGINE=MyISAM")
        both = "INSERT INTO d.inno VALUES ({0}); INSERT INTO d.my VALUES ({0})"
        committer = Committer(lambda number: ask(both.format(number)))
        try:
            wait_for(lambda: committer.last >= 3)
            before = committer.last
            restored = place.copy_frozen()
            after = committer.last
            wait_for(lambda: committer.last > after)
        finally:
            committer.stop()
    with running(restored / "db", sockets[1]) as ask:
        count, last = map(int, ask("SELECT count(*), max(n) FROM d.inno").split())
        assert count == last
        assert last >= before
        assert ask("CHECK TABLE d.my").split("\t")[-1] == "OK"
        # Nothing was being written.
        assert "crashed" not in (place.directory / "socket2.log").read_text()


@pytest.mark.parametrize("name", ["postgresql", "mysql", "redis"])
def test_a_thaw_without_a_freeze_does_nothing_and_nonsense_is_refused(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SETTINGS": "/nowhere", "RUN_DIRECTORY": str(tmp_path / "session")}
    assert (HOOKS / name).stat().st_mode & 0o777 == 0o755
    assert subprocess.run([HOOKS / name, "thaw"], env=environment, check=False).returncode == 0
    result = subprocess.run([HOOKS / name], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "freeze|thaw" in result.stderr
