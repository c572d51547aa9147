"""What `sysinfo` is made of, on small fake trees."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from phoenix_ga.agent.dialects.native.system import sysinfo
from phoenix_ga.agent.operations import system
from phoenix_ga.wire.commands import BY_NAME
from tests.agent.trees import make_tree


@pytest.fixture
def root(tmp_path: Path) -> str:
    return make_tree(tmp_path)


LOGIND_SESSION = """# This is private data. Do not parse.
UID=0
USER={user}
ACTIVE=1
STATE={state}
REMOTE=1
TYPE=tty
CLASS={session_class}
SCOPE=session-{number}.scope
TTY={tty}
REMOTE_HOST={host}
SERVICE=sshd
LEADER={leader}
REALTIME=1767225600123456
MONOTONIC=1
"""


def write_sessions(root: Path, *sessions: dict[str, object]) -> None:
    directory = root / "run/systemd/sessions"
    directory.mkdir(parents=True)
    values = {"user": "root", "state": "active", "session_class": "user", "tty": "", "host": "", "leader": 0}
    for number, session in enumerate(sessions, 1):
        (directory / str(number)).write_text(LOGIND_SESSION.format(**{**values, **session, "number": number}))
    os.mkfifo(directory / "1.ref")


def utmp_entry(kind: int, process: int, line: bytes, user: bytes, host: bytes, seconds: int) -> bytes:
    """An entry of the size that utmp has on x86-64, see utmp(5)."""
    entry = struct.pack("=hxxi32s4s32s256s", kind, process, line, b"id", user, host)
    return entry + struct.pack("=hhiIi16s20x", 0, 0, 0, seconds, 5, bytes(16))


def write_utmp(root: Path, *entries: bytes, processes: tuple[int, ...] = ()) -> None:
    (root / "run").mkdir(exist_ok=True)
    (root / "run/utmp").write_bytes(b"".join(entries))
    for process in processes:
        (root / f"proc/{process}").mkdir(parents=True)


def shown(users: list[system.User]) -> list[tuple[str, str, str, int]]:
    return [(user.name, user.device, user.host, int(user.login_time)) for user in users]


on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="utmp has another layout")


@on_x86
def test_utmp(tmp_path: Path) -> None:
    boot = utmp_entry(2, 0, b"~", b"reboot", b"6.1.0", 1)
    login = utmp_entry(6, 5, b"tty2", b"LOGIN", b"", 2)
    root_user = utmp_entry(7, 10, b"ttyS0", b"root", b"", 2_200_000_000)
    remote = utmp_entry(7, 11, b"pts/0", b"caf\xe9", b"192.0.2.7", 1_767_225_600)
    gone = utmp_entry(7, 12, b"pts/1", b"ghost", b"", 1_767_225_600)
    write_utmp(tmp_path, boot, login, root_user, remote, gone, b"half an entry", processes=(10, 11))
    assert system.users(str(tmp_path))[0].login_time == 1_767_225_600.000005
    assert shown(system.users(str(tmp_path))) == [
        ("caf\udce9", "pts/0", "192.0.2.7", 1_767_225_600),
        ("root", "ttyS0", "", 2_200_000_000),
    ]


def test_logind_without_utmp(tmp_path: Path) -> None:
    write_sessions(
        tmp_path,
        {"tty": "tty1", "session_class": "user-early"},
        {"user": "ada", "host": "192.0.2.7"},
        {"user": "gdm", "session_class": "greeter"},
        {"user": "root", "session_class": "manager-early"},
        {"user": "bob", "state": "closing"},
    )
    assert sorted(shown(system.users(str(tmp_path)))) == [
        ("ada", "", "192.0.2.7", 1_767_225_600),
        ("root", "tty1", "", 1_767_225_600),
    ]


@on_x86
def test_login_in_both_is_shown_once(tmp_path: Path) -> None:
    write_utmp(
        tmp_path,
        utmp_entry(7, 10, b"tty1", b"root", b"", 100),
        utmp_entry(7, 11, b"pts/0", b"ada", b"192.0.2.7", 200),
        utmp_entry(7, 13, b":0", b"eve", b"", 300),
        processes=(10, 11, 13),
    )
    write_sessions(
        tmp_path,
        {"tty": "tty1", "leader": 9},
        {"user": "ada", "host": "192.0.2.7", "leader": 8},
        {"user": "eve", "tty": "tty7", "leader": 13},
        {"user": "ada", "tty": "tty3"},
    )
    assert [(name, device) for name, device, _, _ in shown(system.users(str(tmp_path)))] == [
        ("root", "tty1"),
        ("ada", "pts/0"),
        ("eve", ":0"),
        ("ada", "tty3"),
    ]


def test_nobody(tmp_path: Path) -> None:
    assert system.users(str(tmp_path)) == []


def test_numbers(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/domainname").write_text("example\n")
    (tmp_path / "proc/uptime").write_text("86400.99 1.00\n")
    (tmp_path / "proc/loadavg").write_text("0.04 1.50 10.00 1/123 4567\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:  1000 kB\nMemFree: 5 kB\nHugePages_Total:   0\n")
    assert system.uname(str(tmp_path))["domain"] == "example"
    assert system.uptime(str(tmp_path)) == 86400
    assert system.load_average(str(tmp_path)) == (0.04, 1.5, 10.0)
    assert system.memory(str(tmp_path)) == {"MemTotal": 1000, "MemFree": 5, "HugePages_Total": 0}


def test_disks(root: str) -> None:
    os.makedirs(root + "/home")
    home = os.statvfs(root)
    disks = system.disks(root)
    # The loop device comes after what is real, as does what is mapped.
    assert [(disk.path, disk.point) for disk in disks] == [
        ("/dev/sdb", "/srv/my data\t\\\nx"),
        ("/dev/sdb1", "/srv/my data\t\\\nx"),
        ("/dev/sdc", "/home"),
        ("/dev/sr0", "/media/cd"),
        # It carries / by a partition, and a share of /home through device-mapper.
        ("/dev/vda", "/"),
        ("/dev/vda1", "/"),
        ("/dev/vda2", "/home"),
        ("/dev/mapper/pool", "/home"),
        ("/dev/loop0", ""),
    ]
    by_path = {disk.path: disk for disk in disks}
    assert by_path["/dev/mapper/pool"].total == home.f_blocks * home.f_frsize // 1024
    # Mounted, but its size can't be had.
    assert (by_path["/dev/sdb"].total, by_path["/dev/sdb"].used, by_path["/dev/sdb"].available) == (0, 0, 0)


def add_disk(root: str, name: str, number: str, sectors: int) -> None:
    directory = Path(root) / "sys/block" / name
    directory.mkdir(parents=True)
    (directory / "dev").write_text(number)
    (directory / "size").write_text(str(sectors))


def test_disks_that_are_none(root: str) -> None:
    before = len(system.disks(root))
    add_disk(root, "ram0", "1:0", 100)
    add_disk(root, "zram0", "252:0", 100)
    add_disk(root, "fd0", "2:0", 8)
    add_disk(root, "sr1", "11:1", 0x1FFFFF)
    add_disk(root, "loop1", "7:1", 100)
    add_disk(root, "nbd0", "43:0", 0)
    add_disk(root, "nvme0c0n1", "259:1", 100)
    (Path(root) / "sys/block/nvme0c0n1/hidden").write_text("1\n")
    assert len(system.disks(root)) == before
    add_disk(root, "vdaa", "254:160", 100)
    add_disk(root, "vdb", "254:16", 100)
    add_disk(root, "cciss!c0d0", "104:0", 100)
    paths = [disk.path for disk in system.disks(root)]
    assert paths.index("/dev/vda2") < paths.index("/dev/vdb") < paths.index("/dev/vdaa")
    assert "/dev/cciss/c0d0" in paths


def test_sysinfo_has_the_declared_shape() -> None:
    answer = sysinfo(None)  # type: ignore[arg-type]
    example = BY_NAME["sysinfo"].examples[0].answer
    assert shape(answer, example) == shape(example, example)
    uname = answer["uname"]
    assert isinstance(uname, dict)
    assert uname["release"] == os.uname().release
    assert answer["long_bit"] in (32, 64)
    assert isinstance(answer["uptime"], int)
    assert abs(answer["uptime"] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


def shape(value: object, example: object) -> object:
    """Types instead of values; a list that is empty stands for the example's."""
    if isinstance(value, dict) and isinstance(example, dict):
        return {name: shape(member, example.get(name)) for name, member in value.items()}
    if isinstance(value, list) and isinstance(example, list):
        return [shape((value or example)[0], example[0])]
    return type(value)


@pytest.mark.skipif(os.major(os.stat("/").st_dev) == 0, reason="the root is not on a block device")
def test_disk_of_the_root() -> None:
    whole = [disk for disk in system.disks() if disk.point == "/"]
    sizes = os.statvfs("/")
    assert whole
    for disk in whole:
        assert os.path.exists(disk.path)
        assert disk.total == sizes.f_blocks * sizes.f_frsize // 1024
        assert 0 < disk.used <= disk.total
