"""The keys in a user's home, whatever that user has put there."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from phoenix_ga.agent.operations import authorized_keys
from phoenix_ga.agent.operations.authorized_keys import AuthorizedKeys

NOBODY = 65534


class Home:
    """A home in a temporary directory. uid: of the user whom it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uid = os.geteuid()
        self.gid = os.getegid()

    @property
    def file(self) -> Path:
        return self.path / ".ssh/authorized_keys"

    def write(self, text: str, mode: int = 0o600) -> None:
        self.file.parent.mkdir(mode=0o700, exist_ok=True)
        self.file.write_text(text)
        self.file.chmod(mode)

    def left_over(self) -> list[str]:
        return sorted(os.listdir(self.file.parent))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    path = tmp_path / "joe"
    path.mkdir()
    made = Home(path)

    def getpwnam(name: str) -> SimpleNamespace:
        if name != "joe":
            raise KeyError(name)
        return SimpleNamespace(pw_dir=str(path), pw_uid=made.uid, pw_gid=made.gid)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    return made


@pytest.fixture
def keys(home: Home) -> AuthorizedKeys:
    return AuthorizedKeys("joe")


@pytest.fixture(autouse=True)
def no_descriptor_is_lost(home: Home) -> object:
    before = len(os.listdir("/proc/self/fd"))
    yield
    # What other tests have dropped may be collected meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_first_key_makes_what_is_missing(home: Home, keys: AuthorizedKeys) -> None:
    previous = os.umask(0)
    try:
        keys.add(["ssh-ed25519 AAAA joe@host"])
    finally:
        os.umask(previous)
    assert home.file.read_text() == "ssh-ed25519 AAAA joe@host\n"
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.file.parent.stat().st_mode) == 0o700
    assert home.left_over() == ["authorized_keys"]


def test_a_key_is_added_once_and_empty_ones_never(home: Home, keys: AuthorizedKeys) -> None:
    keys.add(["a 1", "b 2", "a 1", "", " \t"])
    keys.add(["b 2", "c 3", ""])
    assert home.file.read_text() == "a 1\nb 2\nc 3\n"
    assert keys.keys() == ["a 1", "b 2", "c 3"]


def test_comments_and_blank_lines_stay_in_the_file_and_are_no_keys(home: Home, keys: AuthorizedKeys) -> None:
    home.write("# mine\n\n  a 1 \nb 2", mode=0o644)
    assert keys.keys() == ["a 1", "b 2"]
    keys.add(["c 3", "a 1"])
    assert home.file.read_text() == "# mine\n\n  a 1 \nb 2\nc 3\n"
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    keys.remove(["a 1", "c 3", "x 9", ""])
    assert home.file.read_text() == "# mine\n\nb 2\n"
    assert keys.keys() == ["b 2"]


def test_bytes_that_are_no_utf8_stay_as_they_are(home: Home, keys: AuthorizedKeys) -> None:
    home.write("")
    home.file.write_bytes(b"a 1 caf\xe9\n")
    keys.add(["b 2"])
    assert home.file.read_bytes() == b"a 1 caf\xe9\nb 2\n"
    keys.remove(keys.keys())
    assert home.file.read_bytes() == b""


def test_a_reset_drops_all_that_was_there(home: Home, keys: AuthorizedKeys) -> None:
    home.write("# mine\na 1\n")
    keys.add(["b 2"], reset=True)
    assert home.file.read_text() == "b 2\n"
    keys.add([], reset=True)
    assert home.file.read_text() == ""
    assert keys.keys() == []


def test_a_file_that_is_missing_is_an_error_for_who_reads_it_only(home: Home, keys: AuthorizedKeys) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError) as caught:
            keys.keys()
        path = home.file
        expected = f"failed to read '{path}': Failed to open file \u201c{path}\u201d: No such file or directory"
        assert caught.value.strerror == expected
        keys.remove(["a 1"])
        home.file.parent.mkdir(exist_ok=True)
    assert home.left_over() == []


def test_there_is_no_such_user(home: Home) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        AuthorizedKeys("nobody-here")
    assert caught.value.strerror == "failed to lookup user 'nobody-here': No such user"


@pytest.mark.parametrize("kind", ["link", "link to nothing", "fifo", "directory"])
def test_what_is_no_file_is_not_read(home: Home, keys: AuthorizedKeys, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root:$6$hash\n")
    home.file.parent.mkdir()
    if kind == "link":
        home.file.symlink_to(secret)
    elif kind == "link to nothing":
        home.file.symlink_to(tmp_path / "new")
    elif kind == "fifo":
        os.mkfifo(home.file)
    else:
        home.file.mkdir()
    for action in (keys.keys, lambda: keys.add(["a 1"]), lambda: keys.remove(["a 1"])):
        with pytest.raises(OSError, match=r"failed to read '.*authorized_keys'") as caught:
            action()
        codes = {"fifo": errno.EINVAL, "directory": errno.EISDIR}
        assert caught.value.errno == codes.get(kind, errno.ELOOP)
    assert secret.read_text() == "root:$6$hash\n"
    assert not (tmp_path / "new").exists()
    assert home.left_over() == ["authorized_keys"]


def test_a_reset_takes_the_place_of_a_link_and_leaves_its_target(
    home: Home, keys: AuthorizedKeys, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    home.file.parent.mkdir()
    home.file.symlink_to(target)
    keys.add(["a 1"], reset=True)
    assert target.read_text() == "precious"
    assert not home.file.is_symlink()
    assert home.file.read_text() == "a 1\n"


def test_a_link_in_the_place_of_the_directory_is_not_followed(
    home: Home, keys: AuthorizedKeys, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "root-ssh"
    elsewhere.mkdir()
    (home.path / ".ssh").symlink_to(elsewhere)
    for action in (keys.keys, lambda: keys.add(["a 1"], reset=True), lambda: keys.remove(["a 1"])):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            action()
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_the_place_of_the_directory(home: Home, keys: AuthorizedKeys) -> None:
    (home.path / ".ssh").write_text("")
    with pytest.raises(FileExistsError, match=r"failed to create directory '.*/\.ssh': File exists"):
        keys.add(["a 1"])
    keys.remove(["a 1"])


def test_a_home_that_is_not_there(home: Home, keys: AuthorizedKeys) -> None:
    home.path.rmdir()
    with pytest.raises(FileNotFoundError, match=r"failed to create directory '.*/\.ssh': No such file or directory"):
        keys.add(["a 1"])
    keys.remove(["a 1"])


@pytest.mark.root
def test_a_file_of_another_is_read_only_where_everybody_may(home: Home) -> None:
    home.uid, home.gid = NOBODY, NOBODY
    keys = AuthorizedKeys("joe")
    # Such as a hard link to another's secret, or root's file that was moved here.
    home.write("secret 1\n", mode=0o600)
    for action in (keys.keys, lambda: keys.add(["a 1"]), lambda: keys.remove(["secret 1"])):
        with pytest.raises(PermissionError, match="Permission denied"):
            action()
    assert home.file.read_text() == "secret 1\n"
    home.file.chmod(0o644)
    keys.add(["a 1"])
    assert keys.keys() == ["secret 1", "a 1"]
    assert (home.file.stat().st_uid, home.file.stat().st_gid) == (NOBODY, NOBODY)


@pytest.mark.root
def test_what_is_made_belongs_to_the_user(home: Home) -> None:
    home.uid, home.gid = NOBODY, NOBODY
    AuthorizedKeys("joe").add(["a 1"])
    for path in (home.file, home.file.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


def test_a_file_that_is_too_long_is_left_alone(
    home: Home, keys: AuthorizedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorized_keys, "SIZE_MAX", 1000)
    home.write("a 1\n" * 300)
    for action in (keys.keys, lambda: keys.add(["b 2"])):
        with pytest.raises(OSError, match="File too large"):
            action()
    with pytest.raises(OSError, match=r"failed to write to '.*authorized_keys': File too large"):
        keys.add(["b" * 1001], reset=True)
    assert home.file.read_text() == "a 1\n" * 300
    assert home.left_over() == ["authorized_keys"]


def test_the_old_file_stays_where_the_new_one_cannot_be_finished(
    home: Home, keys: AuthorizedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write("a 1\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"failed to write to '.*': No space left on device"):
        keys.add(["b 2"])
    assert home.file.read_text() == "a 1\n"
    assert home.left_over() == ["authorized_keys"]


def test_changes_at_the_same_time_lose_nothing(home: Home) -> None:
    threads = [
        threading.Thread(target=lambda number=number: AuthorizedKeys("joe").add([f"key {number}"]))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(AuthorizedKeys("joe").keys()) == sorted(f"key {number}" for number in range(20))
