"""Directories: they arrive as they are, and whatever goes wrong leaves no half file and no process behind."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    CommandError,
    MockTransport,
    TransferIncompleteError,
    connect,
    copy_between,
    copy_tree_between,
)
from tests.client.conftest import Talk
from tests.support import AgentProcess, wait_for

NOT_UTF8 = b"caf\xe9"
ODD_NAMES = [NOT_UTF8, b"line\nbreak", b"\x1b[2J", b"-rf", b" ", b"trailing.", "\u00e4".encode(), b"x" * 255, b"\\"]


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def everything(root: Path, *leave_out: str) -> dict[bytes, tuple[Any, ...]]:
    """Return what there is to compare of a tree, by name."""
    found: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, bytes] = {}
    top = os.fsencode(root)
    for directory, names, files in os.walk(top):
        names.sort()
        for path in (directory, *(os.path.join(directory, entry) for entry in sorted(names + files))):
            name = os.path.relpath(path, top)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content: Any = None
            if kind == stat.S_IFREG:
                content = Path(os.fsdecode(path)).read_bytes()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            first = None if kind == stat.S_IFDIR else inodes.setdefault(status.st_ino, name)
            found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, first)
    for left_out in leave_out:
        del found[left_out.encode()]
    return found


def put_time(path: Path | str, nanoseconds: int) -> None:
    os.utime(path, ns=(0, nanoseconds), follow_symlinks=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with some of everything; its odd times are set last."""
    root = tmp_path / "source"
    (root / "deep" / "deeper" / "deepest").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o711)
    (root / "read-only").mkdir()
    (root / "read-only" / "file").write_bytes(b"in a directory that can't be written")
    (root / "big").write_bytes(os.urandom(3_000_001))
    (root / "exact").write_bytes(bytes(512))
    (root / "nothing").touch()
    (root / "closed").write_text("secret")
    (root / "closed").chmod(0o600)
    (root / "program").write_text("#!/bin/sh\n")
    (root / "program").chmod(0o755)
    for number, name in enumerate(ODD_NAMES):
        path = os.path.join(os.fsencode(root), b"deep", name)
        with open(path, "wb") as file:
            file.write(b"%d" % number)
    (root / "second name").hardlink_to(root / "big")
    (root / "deep" / "third name").hardlink_to(root / "big")
    (root / "link").symlink_to("deep/deeper")
    (root / "deep" / "up").symlink_to("../big")
    os.symlink(b"to " + NOT_UTF8, os.fsencode(root) + b"/link to " + NOT_UTF8)
    (root / "broken").symlink_to("nowhere")
    put_time(root / "link", 1_234_567_890_123_456_789)
    put_time(root / "big", 1_700_000_000_000_000_001)
    put_time(root / "nothing", -1_500_000_000)
    (root / "read-only").chmod(0o555)
    put_time(root / "read-only", 999_999_999)
    put_time(root / "deep", 1)
    root.chmod(0o750)
    put_time(root, 1_600_000_000_987_654_321)
    return root


def test_a_tree_arrives_as_it_is_both_ways(talk: Talk, endpoint: str, tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there" / "with parents", tmp_path / "back"
    put = talk(endpoint, "put_tree", tree, str(there))
    got = talk(endpoint, "get_tree", str(there), back)
    assert put.notes == got.notes == ()
    assert put.size == got.size > 3_000_000
    for copy in (there, back):
        assert everything(copy) == everything(tree)
    assert sorted(os.listdir(tmp_path)) == ["back", "source", "there"]


@pytest.mark.root
def test_owners_devices_and_set_id_bits_where_they_are_asked_for(
    talk: Talk, endpoint: str, tree: Path, tmp_path: Path
) -> None:
    os.mkfifo(tree / "fifo", 0o622)
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for path in (tree / "program", tree / "empty"):
        os.chown(path, 12345, 2_000_000_000)
        path.chmod(0o6755)
    os.lchown(tree / "broken", 4, 5)
    os.link(tree / "fifo", tree / "read-only" / "fifo", follow_symlinks=False)
    os.link(tree / "broken", tree / "read-only" / "broken", follow_symlinks=False)
    talk(endpoint, "put_tree", tree, str(tmp_path / "kept"), owners=True, set_id=True)
    assert everything(tmp_path / "kept") == everything(tree)
    talk(endpoint, "put_tree", tree, str(tmp_path / "plain"))
    got = talk(endpoint, "get_tree", str(tree), tmp_path / "here")
    assert sorted(got.notes) == [
        "fifo: a FIFO or a device, left out",
        "null: a FIFO or a device, left out",
        "read-only/fifo: another link to a file that is missing",
    ]
    for copy in ("plain", "here"):
        for name in ("program", "empty"):
            status = (tmp_path / copy / name).stat()
            assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o755, 0, 0)
    talk(endpoint, "get_tree", str(tree), tmp_path / "asked", owners=True, set_id=True)
    assert everything(tmp_path / "asked") == everything(tree, "fifo", "null", "read-only/fifo") | {
        b".": everything(tmp_path / "asked")[b"."]
    }


def test_two_thousand_small_files(endpoint: str, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    for number in range(2000):
        path = source / f"{number % 20}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}" * (number % 200))
    seen: list[tuple[int, Any]] = []

    def keep(done: int, total: int | None) -> None:
        seen.append((done, total))

    async def conversation() -> int:
        async with connect(endpoint) as guest:
            await guest.put_tree(source, str(there))
            return (await guest.get_tree(str(there), back, progress=keep)).size

    size = asyncio.run(conversation())
    assert everything(back) == everything(source)
    assert seen[-1] == (size, None)
    assert len(seen) > 5


def test_between_guests_through_the_host(endpoint: str, tree: Path, tmp_path: Path) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as one, connect(endpoint) as other:
            assert await copy_tree_between(one, str(tree), other, str(tmp_path / "there"))
            file = await copy_between(one, str(tree / "big"), other, str(tmp_path / "big"))
            assert (file.size, file.verified) == (3_000_001, True)
            with pytest.raises(CommandError, match="No such file"):
                await copy_tree_between(one, "/nowhere", other, str(tmp_path / "never"))

    asyncio.run(conversation())
    assert everything(tmp_path / "there") == everything(tree)
    assert (tmp_path / "big").read_bytes() == (tree / "big").read_bytes()
    assert not (tmp_path / "never").exists()


def test_what_is_there_already_stays_or_is_replaced_whole(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    for side in ("source", "there", "back"):
        (tmp_path / side / "sub").mkdir(parents=True)
    (tmp_path / "source" / "file").write_text("new")
    (tmp_path / "source" / "sub" / "more").write_text("new")
    for side in ("there", "back"):
        (tmp_path / side).chmod(0o1777)
        (tmp_path / side / "other").write_text("stays")
        (tmp_path / side / "file").symlink_to("other")
    talk(endpoint, "put_tree", tmp_path / "source", str(tmp_path / "there"))
    talk(endpoint, "get_tree", str(tmp_path / "source"), tmp_path / "back")
    for side in ("there", "back"):
        assert (tmp_path / side).stat().st_mode & 0o7777 == 0o1777
        assert (tmp_path / side / "other").read_text() == "stays"
        assert (tmp_path / side / "file").read_text() == "new"
        assert not (tmp_path / side / "file").is_symlink()
        assert sorted(os.listdir(tmp_path / side)) == ["file", "other", "sub"]


@pytest.mark.parametrize("method", ["get_tree", "put_tree"])
def test_a_link_that_was_there_is_not_followed_and_that_is_told(
    talk: Talk, endpoint: str, tmp_path: Path, method: str
) -> None:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "sub" / "file").touch()
    (tmp_path / "source" / "fine").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "target" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(TransferIncompleteError, match="sub") as caught:
        talk(endpoint, method, str(tmp_path / "source"), str(tmp_path / "target"))
    assert len(caught.value.missing) == 2
    assert os.listdir(tmp_path / "outside") == []
    assert sorted(os.listdir(tmp_path / "target")) == ["fine", "sub"]


def test_what_can_be_told_of_a_tree_is_told(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "out").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{source}/socket")
        put = talk(endpoint, "put_tree", source, str(tmp_path / "there"))
        got = talk(endpoint, "get_tree", str(source), tmp_path / "back")
    assert put.notes == ("socket: a socket, left out",)
    assert sorted(got.notes) == [
        "out: a link that leads out of the directory, to /etc/passwd",
        "socket: a socket, left out",
    ]
    assert os.listdir(tmp_path / "there") == ["out"]
    assert os.listdir(tmp_path / "back") == []


def test_links_that_stay_inside_are_kept_even_if_they_go_up_in_the_middle(
    talk: Talk, endpoint: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "a" / "deep").mkdir(parents=True)
    (source / "b").mkdir()
    (source / "b" / "file").write_text("content")
    (source / "loop").symlink_to("a")
    kept = {
        "a/early": "deep/../../b/file",
        "late": "a/../b/./file",
        "back": "a/..",
        "unmade": "a/../missing",
        "a/deep/up": "../../b/../a",
    }
    left_out = {
        "through": "loop/../b/file",
        "missing": "nowhere/../b/file",
        "file": "b/file/../file",
        "out": "a/../../source",
        "a/deep/out": "../../../../etc",
    }
    for name, target in {**kept, **left_out}.items():
        (source / name).symlink_to(target)
    os.utime(source / "a", (1e9, 1e9))
    notes = talk(endpoint, "get_tree", str(source), tmp_path / "back").notes
    assert {name: os.readlink(tmp_path / "back" / name) for name in kept} == kept
    leads_out = "a link that leads out of the directory, to"
    assert sorted(notes) == sorted(f"{name}: {leads_out} {target}" for name, target in left_out.items())
    assert (tmp_path / "back" / "a").stat().st_mtime == 1e9


def test_directories_whose_own_names_are_odd(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    for number, name in enumerate((os.fsdecode(NOT_UTF8), "line\nbreak", "-rf", "new", " ")):
        source, there, back = (tmp_path / side / name for side in ("from", f"there {number}", f"back {number}"))
        source.mkdir(parents=True)
        (source / "file").write_text(f"{number}")
        talk(endpoint, "put_tree", source, str(there))
        talk(endpoint, "get_tree", f"{there}/", back)
        assert everything(back) == everything(source)


def test_files_that_the_kernel_makes_up(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    talk(endpoint, "get_tree", "/proc/sys/kernel/random", tmp_path / "random")
    assert (tmp_path / "random" / "boot_id").read_bytes() == Path("/proc/sys/kernel/random/boot_id").read_bytes()


def test_what_cannot_be_copied_is_an_ordinary_error(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for method, source, target, kind in (
        ("get_tree", "/nowhere", tmp_path / "never", FileNotFoundError),
        ("get_tree", "/etc/hosts", tmp_path / "never", NotADirectoryError),
        ("get_tree", "/etc/apt", tmp_path / "file", NotADirectoryError),
        ("put_tree", tmp_path / "nowhere", str(tmp_path / "never"), FileNotFoundError),
        ("put_tree", tmp_path / "file", str(tmp_path / "never"), NotADirectoryError),
        ("put_tree", "/etc/apt", str(tmp_path / "file"), NotADirectoryError),
    ):
        with pytest.raises(kind):
            talk(endpoint, method, source, target)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("method", ["get_tree", "put_tree"])
def test_a_copy_that_is_cancelled_leaves_no_half_file(
    method: str, agent: AgentProcess, endpoint: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "small").write_text("small")
    with (source / "very big").open("wb") as file:
        file.truncate(1 << 32)

    async def conversation() -> None:
        async with connect(endpoint) as guest:
            moving = asyncio.Event()

            def look(size: int, total: int | None) -> None:
                if size > 4_000_000:
                    moving.set()

            copying = asyncio.create_task(getattr(guest, method)(str(source), str(target), progress=look))
            waiting = asyncio.create_task(moving.wait())
            await asyncio.wait({copying, waiting}, return_when=asyncio.FIRST_COMPLETED)
            assert not copying.done(), copying.exception()
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
            assert await guest.ping()
            wait_for(lambda: not agent.children())
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(conversation())
    assert set(os.listdir(target)) <= {"small"}


def test_a_helper_that_is_killed_is_told_and_leaves_no_half_file(
    agent: AgentProcess, endpoint: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "very big").open("wb") as file:
        file.truncate(1 << 32)

    async def conversation(method: str, target: Path) -> None:
        killed = False

        def kill(size: int, total: int | None) -> None:
            nonlocal killed
            if not killed:
                (helper,) = agent.children()
                os.kill(helper, 9)
                killed = True

        async with connect(endpoint) as guest:
            with pytest.raises(TransferIncompleteError, match="SIGKILL"):
                await getattr(guest, method)(str(source), str(target), progress=kill)

    for method in ("get_tree", "put_tree"):
        asyncio.run(conversation(method, tmp_path / method))
        assert not (tmp_path / method).exists() or os.listdir(tmp_path / method) == []


def raw_put(endpoint: str, target: Path, content: bytes) -> tuple[Any, str]:
    """Return the guest's last words on a tar stream, and what it told."""

    async def conversation() -> tuple[Any, str]:
        async with connect(endpoint) as guest, await guest.files.put_tree_stream(str(target)) as opened:
            await opened.stream.write(content)
            await opened.stream.end()
            told = await opened.stderr.read_all()
            await opened.stream.read_all()
            return opened.stream.message, told.decode()

    return asyncio.run(conversation())


def tar(*members: tuple[str, dict[str, Any], bytes]) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, attributes, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (tar(("../escaped", {}, b"x")), 2, "leads out"),
        (tar(("/tmp/escaped", {}, b"x")), 2, "absolute"),
        (
            tar(("out", {"type": tarfile.SYMTYPE, "linkname": "../outside"}, b""), ("out/escaped", {}, b"x")),
            1,
            "in the way",
        ),
        (tar(("in", {"type": tarfile.LNKTYPE, "linkname": "../outside/file"}, b"")), 2, "leads out"),
        (tar(("file", {}, b"x"))[:512], 2, "is truncated"),
        (b"garbage" * 1000, 2, "not a tar header"),
        (b"", 2, "is truncated"),
    ],
)
def test_nothing_escapes_in_the_guest_either(
    endpoint: str, tmp_path: Path, content: bytes, status: int, text: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("untouched")
    message, told = raw_put(endpoint, tmp_path / "target", content)
    assert message == {"status": status}
    assert text in told
    assert told.count("\n") == 1
    assert os.listdir(tmp_path / "outside") == ["file"]
    assert (tmp_path / "outside" / "file").stat().st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == ["outside", "target"]
    assert set(os.listdir(tmp_path / "target")) <= {"out"}


def test_what_the_guest_sends_is_a_tar_that_others_read(endpoint: str, tree: Path, tmp_path: Path) -> None:
    async def conversation() -> bytes:
        async with connect(endpoint) as guest, guest.files.get_tree_stream(str(tree)) as opened:
            return await opened.stream.read_all()

    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xpf", "-"], input=asyncio.run(conversation()), cwd=tmp_path / "unpacked", check=True)
    assert everything(tmp_path / "unpacked") == everything(tree)


def test_a_python_without_the_safe_filter_unpacks_nothing(
    monkeypatch: pytest.MonkeyPatch, talk: Talk, tmp_path: Path
) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    transport = MockTransport()
    with pytest.raises(OSError, match=r"tarfile\.data_filter"):
        talk(transport, "get_tree", "/x", tmp_path / "never")
    assert transport.requests == []
