"""The files of a guest by SFTP: OpenSSH's client and sshfs, and OpenSSH's server for a second opinion."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.helpers.command_line import command_line as helper
from tests.cli.conftest import command_line, environment
from tests.support import AgentProcess, wait_for

SERVER = "/usr/lib/openssh/sftp-server"
# All that sftp(1) can do in batch mode; {here} is a directory of the host.
TRANSCRIPT = """
version
pwd
mkdir new
-mkdir new
cd new
pwd
lcd {here}
put small renamed
put -p large
-reput large
put -r tree
ls
ls -1
ls -a tree
ls -n large
ls -S -r
ls l*
get renamed back
get -r tree fetched
get -p large copy
-reget large copy
chmod 600 renamed
-chmod 600 missing
rename renamed again
rename again over
-rename missing other
cp large cloned
ln large hard
ln -s large soft
symlink ../new self
-get missing
-rmdir tree
-rm tree
rm over
rm tr*/inner/*
rmdir tree/inner
rmdir tree
ls -l hard
ls soft
-cd missing
cd ..
pwd
df new
df -i new
-ls missing
-mkdir missing/inner
-rename new new/inner
-chown 12345 missing
chgrp {group} new/large
progress
bye
"""


def sftp(server: str, text: str, directory: Path, status: int = 0, home: Path | None = None) -> str:
    """Run a batch in `directory`; return what sftp printed."""
    result = subprocess.run(
        ["sftp", "-b", "-", "-D", server],
        input=text.replace("{here}", str(directory)).replace("{group}", str(os.getgid())),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(LC_ALL="C"),
        cwd=home,
    )
    assert result.returncode == status, (result.stdout, result.stderr)
    return result.stdout + result.stderr


def local_files(directory: Path) -> None:
    (directory / "small").write_bytes(b"x")
    (directory / "large").write_bytes(os.urandom(300_000) * 5)
    os.utime(directory / "large", (1_000_000_000, 1_000_000_000))
    (directory / "tree" / "inner").mkdir(parents=True)
    (directory / "tree" / "inner" / "file").write_text("text")


def shape(directory: Path) -> dict[str, object]:
    """Return what matters of each file in a directory."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_nlink, content)
    return found


@pytest.mark.programs("sftp")
def test_a_transcript_of_all_commands_is_that_of_openssh(endpoint: str, tmp_path: Path) -> None:
    here = tmp_path / "source"
    here.mkdir()
    local_files(here)
    printed, shapes, fetched = {}, {}, {}
    for name in ("theirs", "ours"):
        local, remote = tmp_path / name / "local", tmp_path / name / "remote"
        shutil.copytree(here, local)
        remote.mkdir()
        command = shutil.which(SERVER) or SERVER
        if name == "ours":
            command = f"{sys.executable} -m phoenix_ga.cli sftp {endpoint}"
        text = sftp(command, f"cd {remote}\n{TRANSCRIPT}", local, home=remote)
        # The space on the disk changes meanwhile.
        lines = [line for line in text.replace(name, "NAME").splitlines() if "%" not in line]
        printed[name], shapes[name], fetched[name] = lines, shape(remote), shape(local)
        assert int((local / "copy").stat().st_mtime) == 1_000_000_000
    assert printed["ours"] == printed["theirs"]
    assert shapes["ours"] == shapes["theirs"]
    assert fetched["ours"] == fetched["theirs"]
    assert len(shapes["ours"]) == 6


@pytest.mark.root
@pytest.mark.programs("sftp")
def test_a_session_has_the_rights_of_its_user(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("text")
    (tmp_path / "secret").chmod(0o600)
    command = f"{sys.executable} -m phoenix_ga.cli sftp -u nobody {endpoint}"
    assert "ermission denied" in sftp(command, f"-get {tmp_path}/secret\n-mkdir /etc/x\n", tmp_path)
    assert not Path("/etc/x").exists()


@pytest.mark.programs("sftp")
def test_a_read_only_session_changes_nothing(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    before = shape(tmp_path)
    text = f"""cd {tmp_path}
-put file new
-rm file
-mkdir d
-rename file new
-ln -s a b
-ln file b
-chmod 600 file
get file copy
"""
    found = sftp(f"{sys.executable} -m phoenix_ga.cli sftp -R {endpoint}", text, tmp_path, home=tmp_path)
    assert found.count("ermission denied") == 7
    (tmp_path / "copy").unlink()
    assert shape(tmp_path) == before


class Client:
    """Sends packets to a server, as few real clients do."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            helper("sftp", ""), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def send(self, *parts: bytes) -> None:
        content = b"".join(parts)
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack(">I", len(content)) + content)
        self.process.stdin.flush()

    def receive(self) -> bytes:
        assert self.process.stdout is not None
        (size,) = struct.unpack(">I", self.process.stdout.read(4))
        return self.process.stdout.read(size)

    def ask(self, kind: int, *parts: bytes) -> tuple[int, bytes]:
        """Send a request and return the type of its answer, and the content."""
        self.send(bytes((kind,)), struct.pack(">I", 7), *parts)
        answer = self.receive()
        assert answer[1:5] == struct.pack(">I", 7)
        return answer[0], answer[5:]

    def status(self, kind: int, *parts: bytes) -> int:
        """Send a request and return the code of the status that it is answered with."""
        answer, content = self.ask(kind, *parts)
        assert answer == 101
        code: int = struct.unpack_from(">I", content)[0]
        return code


def text(value: str | bytes | Path) -> bytes:
    data = value if isinstance(value, bytes) else os.fsencode(value)
    return struct.pack(">I", len(data)) + data


@pytest.fixture
def client() -> Iterator[Client]:
    session = Client()
    session.send(b"\1", struct.pack(">I", 3))
    assert session.receive()[:5] == b"\2" + struct.pack(">I", 3)
    yield session
    session.process.kill()
    session.process.communicate()


def test_odd_requests_are_answered_and_the_session_goes_on(client: Client, tmp_path: Path) -> None:
    assert client.status(99) == 8
    assert client.status(200, text("nothing@example.org")) == 8
    assert client.status(5, text("no handle"), bytes(12)) == 2
    assert client.status(17, struct.pack(">I", 5000)) == 5
    assert client.status(17, text(b"a\0b")) == 5
    assert client.status(17, text(tmp_path / "no")) == 2
    assert client.status(17, text("x" * 5000)) == 5
    kind, content = client.ask(11, text(tmp_path))
    assert kind == 102
    assert client.status(5, content, bytes(12)) == 2
    assert client.ask(12, content)[0] == 104
    assert client.status(12, content) == 1
    assert client.status(4, content) == 0
    assert client.status(4, content) == 2


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\xff\xff\xff\xff", struct.pack(">I", 256 * 1024 + 1)])
def test_a_broken_packet_ends_the_session(client: Client, data: bytes) -> None:
    assert client.process.stdin is not None
    client.process.stdin.write(data)
    client.process.stdin.flush()
    assert client.process.wait(30) == 2


def test_requests_are_answered_in_their_order_however_they_arrive(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    _, handle = client.ask(3, text(tmp_path / "file"), struct.pack(">II", 1, 0))
    requests = b"".join(
        struct.pack(">IBI", 5 + len(handle) + 12, 5, number) + handle + struct.pack(">QI", number * 1000, 1000)
        for number in range(300)
    )
    assert client.process.stdin is not None
    for at in range(0, len(requests), 777):
        client.process.stdin.write(requests[at : at + 777])
        client.process.stdin.flush()
    for number in range(256):
        answer = client.receive()
        assert answer[:5] == struct.pack(">BI", 103, number)
        assert answer[9:] == (tmp_path / "file").read_bytes()[number * 1000 : number * 1000 + 1000]
    assert [client.receive()[0] for _ in range(44)] == [101] * 44


def test_the_extensions_of_openssh(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    (tmp_path / "link").symlink_to("a")
    assert client.status(200, text("posix-rename@openssh.com"), text(tmp_path / "a"), text(tmp_path / "b")) == 0
    assert (tmp_path / "b").read_text() == "a"
    assert client.status(200, text("hardlink@openssh.com"), text(tmp_path / "b"), text(tmp_path / "a")) == 0
    assert (tmp_path / "a").stat().st_nlink == 2
    times = struct.pack(">III", 8, 5, 6)
    assert client.status(200, text("lsetstat@openssh.com"), text(tmp_path / "link"), times) == 0
    assert (tmp_path / "link").lstat().st_mtime == 6
    assert (tmp_path / "a").stat().st_mtime > 6
    mode = struct.pack(">II", 4, 0o600)
    assert client.status(200, text("lsetstat@openssh.com"), text(tmp_path / "link"), mode) == 8
    _, handle = client.ask(3, text(tmp_path / "a"), struct.pack(">II", 2, 0))
    assert client.status(200, text("fsync@openssh.com"), handle) == 0
    for words in ((text("statvfs@openssh.com"), text(tmp_path)), (text("fstatvfs@openssh.com"), handle)):
        kind, content = client.ask(200, *words)
        found = os.statvfs(tmp_path)
        assert (kind, struct.unpack(">11Q", content)[2]) == (201, found.f_blocks)
    kind, content = client.ask(200, text("limits@openssh.com"))
    limits = struct.unpack(">4Q", content)
    assert (kind, limits[0], limits[1] < limits[0], limits[3] >= 8) == (201, 256 * 1024, True, True)
    kind, content = client.ask(200, text("expand-path@openssh.com"), text("~root"))
    assert (kind, b"/root" in content) == (104, True)


def test_handles_are_limited(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, content = client.ask(200, text("limits@openssh.com"))
    limit = struct.unpack(">4Q", content)[3]
    opened = [client.ask(3, text(tmp_path / "file"), struct.pack(">II", 1, 0)) for _ in range(limit + 1)]
    assert [kind for kind, _ in opened[:limit]] == [102] * limit
    assert opened[limit][0] == 101
    assert client.status(4, opened[0][1]) == 0
    assert client.ask(3, text(tmp_path / "file"), struct.pack(">II", 1, 0))[0] == 102


def test_a_fifo_does_not_stop_the_session(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    kind, _ = client.ask(3, text(tmp_path / "fifo"), struct.pack(">II", 1, 0))
    assert kind == 102
    assert client.ask(17, text(tmp_path))[0] == 105


def test_ctrl_c_leaves_no_server_in_the_guest(agent: AgentProcess, endpoint: str) -> None:
    with subprocess.Popen(
        command_line("sftp", endpoint), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(struct.pack(">IBI", 5, 1, 3))
            process.stdin.flush()
            assert process.stdout.read(4)
            assert agent.children()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    wait_for(lambda: not agent.children())


def test_the_modes_are_those_that_the_client_asks_for(client: Client, tmp_path: Path) -> None:
    assert client.status(14, text(tmp_path / "d"), struct.pack(">II", 4, 0o700)) == 0
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700


def test_a_line_of_a_listing_is_that_of_ls(client: Client, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("text")
    os.utime(tmp_path / "old", (0, 0))
    (tmp_path / "link").symlink_to("old")
    expected = subprocess.run(
        ["ls", "-la", tmp_path], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout
    _, handle = client.ask(11, text(tmp_path))
    _, content = client.ask(12, handle)
    lines, at = [], 4
    for _ in range(struct.unpack_from(">I", content)[0]):
        for is_line in (False, True):
            (size,) = struct.unpack_from(">I", content, at)
            if is_line:
                lines.append(content[at + 4 : at + 4 + size].decode().split())
            at += 4 + size
        # The attributes: flags, size, two owners, mode and two times.
        at += 4 + 8 + 4 * 5
    assert sorted(lines) == sorted(line.partition(" -> ")[0].split() for line in expected.splitlines()[1:])
