"""File commands, on plain files and on everything that is none."""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import grp
import hashlib
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.operations import files
from tests.agent.qga import call
from tests.ends.client import DATA, END, RESET, LineClient, RefusedError
from tests.support import SOURCE, AgentProcess, wait_for


def refused(client: LineClient, execute: str, **arguments: object) -> tuple[str, str]:
    """Return errno name and text with which a command is refused."""
    with pytest.raises(RefusedError) as caught:
        client.call(execute, **arguments)
    return errno.errorcode.get(caught.value.code, str(caught.value.code)), caught.value.text


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
def test_what_is_written_is_read(client: LineClient, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    client.write_file(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert client.read_file(tmp_path / "file") == data
    assert client.call("get-file-md5sum", path=str(tmp_path / "file")) == hashlib.md5(data).hexdigest()


def test_a_read_without_a_count_gives_4096_bytes(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    handle = client.call("file-open", path=str(tmp_path / "file"))
    sizes = []
    while not (answer := client.call("file-read", handle_id=handle))["eof"]:
        sizes.append(len(base64.b64decode(answer["bufb64"])))
    assert sizes == [4096, 904]
    assert refused(client, "file-read", handle_id=handle) == ("EBADF", f"handle {handle} is not open")


def test_the_chunk_that_comes_with_eof_is_written_and_the_handle_closed(client: LineClient, tmp_path: Path) -> None:
    handle = client.call("file-open", path=str(tmp_path / "file"), mode="w")
    assert client.call("file-write", handle_id=handle, bufb64=encoded(b"first ")) is True
    assert client.call("file-write", handle_id=handle, bufb64=encoded(b"last"), eof=True) is True
    assert (tmp_path / "file").read_bytes() == b"first last"
    assert refused(client, "file-close", handle_id=handle)[0] == "EBADF"


def test_opening_to_write_empties_the_file_and_keeps_its_mode(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old and long")
    (tmp_path / "file").chmod(0o600)
    client.write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("perm", [0o644, 0o600, 0o666, 0o4755, 0])
def test_a_new_file_has_exactly_the_permissions_asked_for(client: LineClient, tmp_path: Path, perm: int) -> None:
    client.call("file-open", path=str(tmp_path / "file"), mode="w", perm=perm)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == perm


def test_base64_with_line_breaks_is_fine_and_damaged_base64_is_not(client: LineClient, tmp_path: Path) -> None:
    handle = client.call("file-open", path=str(tmp_path / "file"), mode="w")
    client.call("file-write", handle_id=handle, bufb64="SGVs\r\nbG8=\n")
    for wrong in ("SGVsbG8", "SGVs*G8=", "SG=sbG8=", "====", "SGVsbG8=SGVs", "é"):
        code, text = refused(client, "file-write", handle_id=handle, bufb64=wrong)
        assert (code, "argument 'bufb64'" in text) == ("EINVAL", True)
    client.call("file-close", handle_id=handle)
    assert (tmp_path / "file").read_bytes() == b"Hello"


def test_a_handle_works_in_its_own_direction_only(client: LineClient, tmp_path: Path) -> None:
    writing = client.call("file-open", path=str(tmp_path / "file"), mode="w")
    reading = client.call("file-open", path=str(tmp_path / "file"), mode="r")
    assert refused(client, "file-read", handle_id=writing)[0] == "EBADF"
    assert refused(client, "file-write", handle_id=reading, bufb64="")[0] == "EBADF"


def test_handles_outlive_the_connection(agent: AgentProcess, tmp_path: Path) -> None:
    with agent.connect() as first:
        handle = first.call("file-open", path=str(tmp_path / "file"), mode="w")
    with agent.connect() as second:
        second.call("file-write", handle_id=handle, bufb64=encoded(b"later"), eof=True)
    assert (tmp_path / "file").read_bytes() == b"later"


def test_handles_are_limited_and_a_closed_one_makes_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with AgentProcess(tmp_path, "--max-handles", "3") as agent, agent.connect() as client:
        handles = [client.call("file-open", path=str(tmp_path / "file")) for _ in range(3)]
        code, text = refused(client, "file-open", path=str(tmp_path / "file"))
        assert (code, text) == ("EMFILE", "3 files are open, which is the limit; close some with file-close")
        client.call("file-close", handle_id=handles[0])
        client.call("file-open", path=str(tmp_path / "file"))


def test_a_handle_of_an_earlier_agent_is_not_taken_for_another_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with AgentProcess(tmp_path) as agent:
        with agent.connect() as client:
            old = client.call("file-open", path=str(tmp_path / "file"))
            client.call("agent-shutdown")
        agent.restart()
        with agent.connect() as client:
            for _ in range(5):
                assert client.call("file-open", path=str(tmp_path / "file")) != old
            assert refused(client, "file-read", handle_id=old)[0] == "EBADF"


def test_a_fifo_without_a_peer_never_keeps_anybody_waiting(client: LineClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refused(client, "file-open", path=str(tmp_path / "fifo"), mode="w")[0] == "ENXIO"
    handle = client.call("file-open", path=str(tmp_path / "fifo"))
    assert client.call("file-read", handle_id=handle) == {"bufb64": "", "eof": True}


def test_a_fifo_with_a_silent_writer_has_no_data_now(client: LineClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    handle = client.call("file-open", path=str(tmp_path / "fifo"))
    with (tmp_path / "fifo").open("wb", buffering=0) as writer:
        assert refused(client, "file-read", handle_id=handle)[0] == "EAGAIN"
        writer.write(b"now")
        assert client.call("file-read", handle_id=handle) == {"bufb64": encoded(b"now"), "eof": False}


def test_more_than_a_fifo_holds_reaches_its_slow_reader_whole(client: LineClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = os.urandom(500_000)
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    handle = None
    while handle is None:
        with contextlib.suppress(RefusedError):  # until the reader is there
            handle = client.call("file-open", path=str(tmp_path / "fifo"), mode="w")
    client.call("file-write", handle_id=handle, bufb64=encoded(data), eof=True)
    reader.join(10)
    assert received == [data]


@pytest.mark.parametrize("command", ["file-read", "guest-file-read"])
def test_reads_from_memory_and_from_workers_keep_their_order(
    client: LineClient, tmp_path: Path, command: str
) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "data").write_bytes(data)
    guest = command.startswith("guest-")
    ask = functools.partial(call, client) if guest else client.call
    handle = ask("guest-file-open" if guest else "file-open", path=str(tmp_path / "data"))
    counts = [10, 200_000, 30, 40_000, 100_000, 5, 150_000] * 4
    for number, count in enumerate(counts):
        arguments = {"handle" if guest else "handle_id": handle, "count": count}
        member = {"id" if guest else "tag": number}
        client.send(json.dumps({"execute": command, "arguments": arguments, **member}).encode() + b"\n")
    answers = [json.loads(client.line()) for _ in counts]
    answers.sort(key=lambda answer: answer["id" if guest else "tag"])
    pieces = [base64.b64decode(answer["return"]["buf-b64" if guest else "bufb64"]) for answer in answers]
    assert b"".join(pieces) == data[: sum(counts)]


def test_a_directory_is_neither_read_nor_written(client: LineClient, tmp_path: Path) -> None:
    for arguments in ({"mode": "r"}, {"mode": "w"}):
        assert refused(client, "file-open", path=str(tmp_path), **arguments)[0] == "EISDIR"
    assert refused(client, "get-file-md5sum", path=str(tmp_path))[0] == "EISDIR"


def test_a_dangling_link_is_shown_and_not_followed(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    path = str(tmp_path / "link")
    assert stat.S_ISLNK(client.call("file-stat", path=path)["stat"]["Mode"])
    assert refused(client, "file-open", path=path)[0] == "ENOENT"
    assert refused(client, "get-file-md5sum", path=path)[0] == "ENOENT"
    assert refused(client, "file-chmod", path=path, perm=420)[0] == "ENOENT"
    assert [entry["name"] for entry in client.call("directory-list", path=str(tmp_path)) if entry["name"] == "link"]


def test_devices_and_sockets_have_no_digest(client: LineClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
    assert refused(client, "get-file-md5sum", path="/dev/zero")[0] == "EINVAL"
    assert refused(client, "get-file-md5sum", path=str(tmp_path / "fifo"))[0] == "EINVAL"
    assert refused(client, "get-file-md5sum", path=str(tmp_path / "socket"))[0] == "ENXIO"


def test_a_device_is_read_as_far_as_asked(client: LineClient) -> None:
    handle = client.call("file-open", path="/dev/zero")
    assert client.call("file-read", handle_id=handle, count=10)["bufb64"] == encoded(bytes(10))
    client.call("file-close", handle_id=handle)


def test_a_missing_file_is_named_in_the_error(client: LineClient) -> None:
    assert refused(client, "file-open", path="/no/such/file") == (
        "ENOENT",
        "/no/such/file: No such file or directory",
    )
    assert refused(client, "file-open", path="/etc/passwd/x")[0] == "ENOTDIR"
    assert refused(client, "file-open", path="")[0] == "ENOENT"
    assert refused(client, "file-open", path="/" + "x" * 300)[0] == "ENAMETOOLONG"


def test_a_running_program_is_replaced_only_by_force(client: LineClient, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    running = subprocess.Popen([program, "60"])
    try:
        assert refused(client, "file-open", path=str(program), mode="w")[0] == "ETXTBSY"
        handle = client.call("file-open", path=str(program), mode="w", perm=0o755, force=True)
        client.call("file-write", handle_id=handle, bufb64=encoded(b"#!/bin/sh\n"), eof=True)
        assert program.read_bytes() == b"#!/bin/sh\n"
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


def test_a_full_disk_is_said_to_be_full(client: LineClient) -> None:
    handle = client.call("file-open", path="/dev/full", mode="w")
    assert refused(client, "file-write", handle_id=handle, bufb64=encoded(b"x"))[0] == "ENOSPC"


def test_stat_has_the_members_of_the_kernels_struct(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    os.utime(tmp_path / "file", ns=(1_000_000_001, -1))
    answer = client.call("file-stat", path=str(tmp_path / "file"))
    status = os.lstat(tmp_path / "file")
    assert answer == {
        "name": "file",
        "isdir": False,
        "stat": {
            **{name.capitalize(): getattr(status, f"st_{name}") for name in ("dev", "ino", "nlink", "mode", "uid")},
            **{name.capitalize(): getattr(status, f"st_{name}") for name in ("gid", "rdev", "size", "blksize")},
            "Blocks": status.st_blocks,
            "Atim": {"Sec": 1, "Nsec": 1},
            "Mtim": {"Sec": -1, "Nsec": 999_999_999},
            "Ctim": {"Sec": status.st_ctime_ns // 10**9, "Nsec": status.st_ctime_ns % 10**9},
        },
    }


@pytest.mark.parametrize(
    ("path", "name"), [("/", "/"), ("/etc", "etc"), ("/etc/", "etc"), ("//etc//", "etc"), (".", ".")]
)
def test_the_name_is_the_last_part_of_the_path(client: LineClient, path: str, name: str) -> None:
    answer = client.call("file-stat", path=path)
    assert (answer["name"], answer["isdir"]) == (name, True)


def test_names_that_are_not_utf8_come_out_and_go_back_in_unchanged(client: LineClient, tmp_path: Path) -> None:
    names = [b"caf\xe9", b"\xff\xfe", b"\xc3\xa9 fine", b"new\nline", b'"quoted\\"', b"\x80", b"tab\t", b" "]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    entries = client.call("directory-list", path=str(tmp_path))
    found = sorted(entry["name"] for entry in entries if not entry["name"].startswith(("agent", "phoenix", "run")))
    assert sorted(name.encode("utf-8", "surrogateescape") for name in found) == sorted(names)
    for name in found:
        raw = name.encode("utf-8", "surrogateescape")
        assert client.call("get-file-md5sum", path=f"{tmp_path}/{name}") == hashlib.md5(raw).hexdigest()
        assert client.call("file-stat", path=f"{tmp_path}/{name}")["name"] == name


def test_names_are_the_same_bytes_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        client.write_file(tmp_path / "smörgås", b"x")
    assert (tmp_path / "smörgås").exists()


def test_directories_are_made_with_their_parents(client: LineClient, tmp_path: Path) -> None:
    assert client.call("directory-create", path=str(tmp_path / "a/b/c/"), perm=0o2770) is True
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o2770
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert client.call("directory-create", path=str(tmp_path / "a/b/c"), perm=0o700) is True
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o2770


def test_a_file_in_the_way_of_a_directory_is_an_error(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(client, "directory-create", path=str(tmp_path / "file"))[0] == "EEXIST"
    assert refused(client, "directory-create", path=str(tmp_path / "file/sub/sub"))[0] == "ENOTDIR"
    (tmp_path / "dangling").symlink_to("nowhere")
    assert refused(client, "directory-create", path=str(tmp_path / "dangling"))[0] == "EEXIST"
    assert refused(client, "directory-create", path="")[0] == "ENOENT"


def test_a_listing_stops_at_n(client: LineClient, tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / "listed").mkdir(exist_ok=True)
        (tmp_path / "listed" / str(number)).touch()
    everything = client.call("directory-list", path=str(tmp_path / "listed"))
    assert sorted(entry["name"] for entry in everything) == [str(number) for number in range(10)]
    for count in (1, 3, 10, 11):
        answer = client.call("directory-list", path=str(tmp_path / "listed"), n=count)
        assert [entry["name"] for entry in answer] == [entry["name"] for entry in everything[:count]]
    for count in (0, -1, -(2**63)):
        assert client.call("directory-list", path=str(tmp_path / "listed"), n=count) == everything
    assert refused(client, "directory-list", path=str(tmp_path / "listed/1"))[0] == "ENOTDIR"


def test_a_listing_longer_than_the_limit_is_refused_and_a_part_of_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "listed").mkdir()
    for number in range(11):
        (tmp_path / "listed" / str(number)).touch()
    with AgentProcess(tmp_path, "--listing-limit", "10") as agent, agent.connect() as client:
        code, text = refused(client, "directory-list", path=str(tmp_path / "listed"))
        assert (code, "more than 10 entries" in text) == ("E2BIG", True)
        assert refused(client, "directory-list", path=str(tmp_path / "listed"), n=-1)[0] == "E2BIG"
        assert len(client.call("directory-list", path=str(tmp_path / "listed"), n=10)) == 10


def test_a_hundred_thousand_entries_are_listed_within_bounded_memory(
    agent: AgentProcess, client: LineClient, tmp_path: Path
) -> None:
    (tmp_path / "listed").mkdir()
    for number in range(100_000):
        os.mknod(tmp_path / "listed" / f"{number:06d}")
    before = agent.memory()
    client.ask("directory-list", path=str(tmp_path / "listed"))
    client.ask("directory-list", "other", path=str(tmp_path), n=1)
    assert client.answer()["tag"] == "other"
    assert len(client.answer()["return"]) == 100_000
    peak = next(
        int(line.split()[1]) << 10
        for line in Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    assert peak - before < 120 << 20
    assert agent.memory() - before < 4 << 20


def entries_of(client: LineClient, path: Path, **arguments: Any) -> list[list[Any]]:
    """Return the lines of `directory-entries`, which fit into the largest window."""
    number = client.call("directory-entries", path=str(path), window=16 << 20, **arguments)["stream"]
    data = b""
    while (frame := client.frame()).type == DATA:
        assert frame.stream == number
        data += frame.payload
    assert (frame.type, frame.payload) == (END, b"{}")
    return [json.loads(line) for line in data.splitlines()]


def test_the_entries_of_a_directory_are_those_of_a_listing(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "listed").mkdir()
    assert entries_of(client, tmp_path / "listed") == []
    for number in range(2000):
        (tmp_path / "listed" / f'{number} "\\ü').touch()
    (tmp_path / "listed" / os.fsdecode(b"\xe9\n")).symlink_to("/no where\n")
    os.utime(tmp_path / "listed" / '5 "\\ü', ns=(-1, -(2**33) * 10**9 + 7))
    for names in (False, True):
        listed = client.call("directory-list", path=str(tmp_path / "listed"), names=names)
        expected = []
        for entry in listed:
            status = entry["stat"]
            times = [status.pop(name) for name in ("Atim", "Mtim", "Ctim")]
            texts = [entry[name] for name in ("user", "group", "target")] if names else []
            numbers = [*status.values(), *(time["Sec"] * 10**9 + time["Nsec"] for time in times)]
            expected.append([entry["name"], *numbers, *texts])
        found = entries_of(client, tmp_path / "listed", names=names)
        for entry in (*found, *expected):
            # Reading the target of a link changes its access time.
            entry[11] *= not stat.S_ISLNK(entry[4])
        assert found == expected
    assert refused(client, "directory-entries", path=str(tmp_path / "listed" / '5 "\\ü'))[0] == "ENOTDIR"
    assert refused(client, "directory-entries", path=str(tmp_path / "nowhere"))[0] == "ENOENT"


def test_a_directory_that_nobody_reads_takes_no_memory_and_is_closed_with_its_stream(
    agent: AgentProcess, client: LineClient, tmp_path: Path
) -> None:
    (tmp_path / "listed").mkdir()
    for number in range(50_000):
        os.mknod(tmp_path / "listed" / f"{number:06d}")
    client.call("directory-list", path=str(tmp_path / "listed"), n=1)
    assert len(entries_of(client, tmp_path / "listed")) == 50_000
    before = agent.memory()
    number = client.call("directory-entries", path=str(tmp_path / "listed"), window=0)["stream"]
    assert client.call("ping")
    assert str(tmp_path / "listed") in agent.open_files(tmp_path)
    assert agent.memory() - before < 2 << 20
    client.send_frame(RESET, number)
    wait_for(lambda: str(tmp_path / "listed") not in agent.open_files(tmp_path))


@pytest.mark.root
def test_owners_and_permissions_are_changed_through_links(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert client.call("file-chown", path=str(tmp_path / "link"), uid=1234, gid=4321) is True
    assert client.call("file-chmod", path=str(tmp_path / "link"), perm=0o640) is True
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)
    assert client.call("file-chown", path=str(tmp_path / "file")) is True
    assert (tmp_path / "file").stat().st_uid == 0


@pytest.mark.root
def test_owners_are_changed_by_name_or_one_without_the_other(client: LineClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    daemon, tty = pwd.getpwnam("daemon").pw_uid, grp.getgrnam("tty").gr_gid
    client.call("file-chown", path=str(path), user="daemon", group="tty")
    assert (path.stat().st_uid, path.stat().st_gid) == (daemon, tty)
    client.call("file-chown", path=str(path), uid=-1, group="4321")
    assert (path.stat().st_uid, path.stat().st_gid) == (daemon, 4321)
    client.call("file-chown", path=str(path), uid=1234, gid=-1)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize("name", ["nobody-of-this-name", "-1", "4294967295", "1 ", "\u0661", "\ud800"])
def test_an_owner_that_the_guest_does_not_know_is_an_error(client: LineClient, tmp_path: Path, name: str) -> None:
    assert refused(client, "file-chown", path=str(tmp_path), user=name, gid=-1) == (
        "EINVAL",
        f"there is no user {name!r}",
    )
    assert refused(client, "file-chown", path=str(tmp_path), uid=-1, group=name)[0] == "EINVAL"


def test_names_of_owners_and_targets_of_links_are_told_where_asked_for(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "link").symlink_to("/no where\n")
    owners = {"user": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
    (listed,) = client.call("directory-list", path=str(tmp_path / "listed"), names=True)
    for link in (listed, client.call("file-stat", path=str(tmp_path / "listed/link"), names=True)):
        assert {name: link[name] for name in ("user", "group", "target")} == {**owners, "target": "/no where\n"}
    assert client.call("file-stat", path=str(tmp_path), names=True)["target"] == ""


@pytest.mark.root
def test_an_owner_without_a_name_has_an_empty_one(client: LineClient, tmp_path: Path) -> None:
    os.chown(tmp_path, 123456, 654321)
    answer = client.call("file-stat", path=str(tmp_path), names=True)
    assert (answer["user"], answer["group"]) == ("", "")


def test_a_link_is_followed_where_asked_for(client: LineClient, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    assert client.call("file-stat", path=str(tmp_path / "link"))["isdir"] is False
    followed = client.call("file-stat", path=str(tmp_path / "link"), follow=True)
    assert (followed["name"], followed["isdir"]) == ("link", True)


def test_a_directory_alone_is_made_in_one_that_is_there(client: LineClient, tmp_path: Path) -> None:
    assert client.call("directory-create", path=str(tmp_path / "new"), perm=0o2711, parents=False) is True
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o2711
    assert refused(client, "directory-create", path=str(tmp_path / "new"), parents=False)[0] == "EEXIST"
    assert refused(client, "directory-create", path=str(tmp_path / "none/new"), parents=False)[0] == "ENOENT"


def test_force_replaces_the_program_that_a_symbolic_link_names(client: LineClient, tmp_path: Path) -> None:
    program, link = tmp_path / "program", tmp_path / "link"
    shutil.copy("/bin/sleep", program)
    link.symlink_to("program")
    with subprocess.Popen([program, "60"]) as running:
        handle = client.call("file-open", path=str(link), mode="w", force=True)
        client.call("file-write", handle_id=handle, bufb64=encoded(b"new"), eof=True)
        running.kill()
    assert link.is_symlink()
    assert program.read_bytes() == b"new"


@pytest.mark.root
def test_an_entry_that_cannot_be_looked_at_does_not_hide_the_others() -> None:
    program = """
import os, sys
from phoenix_ga.agent.operations.files import list_directory
os.seteuid(65534)
for name, status in sorted(list_directory(sys.argv[1], 0, 9)):
    print(name, oct(status.st_mode), status.st_ino, status.st_size, status.st_mtime_ns)
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "directory").mkdir()
        (directory / "link").symlink_to("directory")
        (directory / "file").touch()
        inodes = [(directory / name).lstat().st_ino for name in ("directory", "file", "link")]
        # Without the permission to search, names can be read, and nothing else.
        directory.chmod(0o744)
        command = [sys.executable, "-c", program, name]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    types = ["directory 0o40000", "file 0o100000", "link 0o120000"]
    assert run.stdout.splitlines() == [f"{kind} {inode} 0 0" for kind, inode in zip(types, inodes)]


def test_no_descriptor_is_lost_where_a_file_cannot_be_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fails)
        with pytest.raises(OSError, match="Input/output error"):
            files.open_to_read(str(tmp_path))
    assert os.listdir("/proc/self/fd") == before
