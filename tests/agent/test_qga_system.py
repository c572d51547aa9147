"""What the QEMU Guest Agent's clients get of the system, its name, its zone and its clock.

Nothing is set, shut down or put to sleep here: that is for a guest.
"""

from __future__ import annotations

import calendar
import datetime
import errno
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.context import Context
from phoenix_ga.agent.dialects.qga import system
from phoenix_ga.agent.operations import clock, identity, power
from phoenix_ga.agent.protocol.call import CommandError

CONTEXT = cast("Context", SimpleNamespace())
NANOSECONDS = 10**9


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("debian", "debian"),
        ("", ""),
        ('""', ""),
        ('"Debian GNU/Linux"', "Debian GNU/Linux"),
        ("'single \\ quoted'", "single \\ quoted"),
        ('"12" # why', "12"),
        ("12 # why", "12"),
        ('"12";', "12"),
        ("12;X=1", "12"),
        (r'"a \"b\" \$c \`d\` \\ e"', r'a "b" $c `d` \ e'),
        (r'"it\'s"', "it's"),
        (r'"a\nb"', r"a\nb"),
        (r"a\ b", "a b"),
        ("a\"b c\"'d e'", "ab cd e"),
        ('"unfinished', "unfinished"),
        ("end\\", "end"),
    ],
)
def test_values_of_os_release_mean_what_they_mean_to_a_shell(value: str, meaning: str, tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text(f"# comment\nNAME={value}\n")
    assert identity.os_release((str(path),)) == {"NAME": meaning}


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=20))
def test_a_value_in_quotes_is_what_a_shell_makes_of_it(text: str) -> None:
    # In double quotes, a shell expands $ and `, and qemu-ga unescapes \' as well.
    value = '"' + "".join(f"\\{each}" if each in '"$`\\' else each for each in text) + '"'
    said = subprocess.run(["/bin/sh", "-c", f'X={value}; printf %s "$X"'], capture_output=True, text=True, check=True)
    assert identity.unquote(value) == said.stdout == text


def test_the_first_os_release_that_is_there_counts_and_spaces_around_names_do_not(tmp_path: Path) -> None:
    paths = tuple(str(tmp_path / name) for name in ("none", "first", "second"))
    (tmp_path / "first").write_text("ID=a\nno pair\n  ID=b\nNAME = spaced\n#VERSION=1\n")
    (tmp_path / "second").write_text("VERSION=2\n")
    assert identity.os_release(paths) == {"ID": "b", "NAME": "spaced"}
    assert identity.os_release(paths[:1]) == {}


def test_another_os_release_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "release").write_text('ID=x\nPRETTY_NAME="X 1"\nVERSION_ID=1\nHOME_URL=y\n')
    monkeypatch.setenv("QGA_OS_RELEASE", str(tmp_path / "release"))
    kernel = os.uname()
    expected = {"kernel-release": kernel.release, "kernel-version": kernel.version, "machine": kernel.machine}
    assert system.guest_get_osinfo(CONTEXT) == {**expected, "id": "x", "pretty-name": "X 1", "version-id": "1"}
    monkeypatch.setenv("QGA_OS_RELEASE", str(tmp_path / "none"))
    assert system.guest_get_osinfo(CONTEXT) == expected


@pytest.mark.parametrize(
    ("zone", "name", "offset"), [("Asia/Kathmandu", "+0545", 20700), ("UTC", "UTC", 0), ("XYZ+3", "XYZ", -10800)]
)
def test_the_offset_of_a_zone_in_the_east_is_positive(
    zone: str, name: str, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    try:
        assert system.guest_get_timezone(CONTEXT) == {"zone": name, "offset": offset}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_time_is_that_of_the_system_to_the_microsecond() -> None:
    before = time.time_ns() // 1000 * 1000
    told = system.guest_get_time(CONTEXT)
    assert before <= told <= time.time_ns()
    assert told % 1000 == 0


@pytest.mark.parametrize("at", [-(2**63), -NANOSECONDS, 3_155_759_999 * NANOSECONDS, 2**63 - 1])
def test_a_time_that_clocks_do_not_have_is_refused(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "set_time", None)
    with pytest.raises(CommandError, match=r"^Invalid time$"):
        system.guest_set_time(CONTEXT, at)


def test_a_time_that_is_accepted_is_set_before_2070_even_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bool] = []
    monkeypatch.setattr(clock, "set_time", lambda time: None)
    monkeypatch.setattr(clock, "write_hardware_clock", lambda: written.append(True))
    last = int(datetime.datetime(2070, 1, 1, tzinfo=datetime.timezone.utc).timestamp() - 2) * NANOSECONDS - 1
    system.guest_set_time(CONTEXT, last)
    with pytest.raises(CommandError, match=r"^Invalid time$"):
        system.guest_set_time(CONTEXT, last + 1)
    assert written == [True]


def test_a_time_that_the_system_refuses_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(nanoseconds: int) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(clock, "set_time", refuse)
    with pytest.raises(CommandError, match=r"^Failed to set time to guest: Operation not permitted$"):
        system.guest_set_time(CONTEXT, -1)


class FakeClock:
    """A system and a clock of the hardware beside it, whose seconds begin `phase` after those of the system.

    resets: setting it begins a second half a second later, as with the clock of a PC.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, phase: float = 0.0, *, resets: bool) -> None:
        self.now = 1_700_000_000.2
        self.ahead = -phase
        self.resets = resets
        self.set_to: float | None = None
        monkeypatch.setattr(clock, "_open", lambda: os.open(os.devnull, os.O_RDONLY))
        monkeypatch.setattr(clock, "_second_begins", lambda: 500_000_000 if resets else 0)
        monkeypatch.setattr(clock, "_is_local", lambda: False)
        monkeypatch.setattr(clock, "ioctl", self.ioctl)
        monkeypatch.setattr(clock, "set_time", self.set_time)
        fake = SimpleNamespace(
            time_ns=lambda: round(self.now * NANOSECONDS),
            monotonic=lambda: self.now,
            sleep=self.sleep,
            gmtime=time.gmtime,
        )
        monkeypatch.setattr(clock, "time", fake)

    def sleep(self, seconds: float) -> None:
        # Never to the point.
        self.now += seconds + 0.0002

    def set_time(self, nanoseconds: int) -> None:
        self.set_to = nanoseconds / NANOSECONDS

    def hardware(self) -> float:
        return self.now + self.ahead

    def ioctl(self, fd: int, request: int, value: bytes) -> bytes:
        if request == clock._RTC_RD_TIME:
            moment = time.gmtime(int(self.hardware()))
            fields = (*reversed(moment[3:6]), moment.tm_mday, moment.tm_mon - 1, moment.tm_year - 1900, 0, 0, 0)
            return clock._RTC_TIME.pack(*fields)
        second, minute, hour, day, month, year = clock._RTC_TIME.unpack(value)[:6]
        at = calendar.timegm((year + 1900, month + 1, day, hour, minute, second))
        self.ahead = at + (0.5 if self.resets else 0.0) - self.now
        return value


@pytest.mark.parametrize("resets", [False, True])
def test_the_clock_of_the_hardware_is_set_so_that_its_seconds_begin_with_those_of_the_system(
    resets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeClock(monkeypatch, resets=resets)
    clock.write_hardware_clock()
    assert abs(fake.hardware() - fake.now) < 0.01


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.999])
def test_the_system_is_set_when_a_second_of_the_clock_of_the_hardware_begins(
    phase: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeClock(monkeypatch, phase, resets=False)
    clock.read_hardware_clock()
    assert fake.set_to is not None
    assert abs(fake.set_to - fake.hardware()) < 0.02


def test_a_clock_of_the_hardware_that_stands_still_is_read_nonetheless(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeClock(monkeypatch, resets=False)
    monkeypatch.setattr(fake, "hardware", lambda: 1_600_000_000.0)
    clock.read_hardware_clock()
    assert fake.set_to == 1_600_000_000


@pytest.mark.parametrize("write", [False, True])
def test_hwclock_is_run_where_the_clock_of_the_hardware_cannot_be_reached(
    write: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OSError(errno.ENODEV, "there is no clock of the hardware")

    status = 0
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command)
        return status

    monkeypatch.setattr(clock, "_open", refuse)
    monkeypatch.setattr(clock, "run_to_end", run)
    function = clock.write_hardware_clock if write else clock.read_hardware_clock
    function()
    assert commands == [["/sbin/hwclock", "-w" if write else "-s"]]
    status = 1
    with pytest.raises(OSError, match="no clock of the hardware"):
        function()


def test_there_are_three_ways_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run_to_end(command: list[str]) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(power, "run_to_end", run_to_end)
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/sbin/halt")
    for mode in (None, "powerdown", "halt", "reboot"):
        system.guest_shutdown(CONTEXT, mode)
    shutdown = ["/sbin/shutdown", "-h"]
    rest = ["+0", "hypervisor initiated shutdown"]
    assert commands == [[*shutdown, "-P", *rest], [*shutdown, "-P", *rest], ["/sbin/halt"], [*shutdown, "-r", *rest]]
    with pytest.raises(CommandError, match=r"^mode is invalid \(valid values are: halt\|powerdown\|reboot$"):
        system.guest_shutdown(CONTEXT, "Halt")
    assert len(commands) == 4


def test_an_end_that_no_program_begins_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "run_to_end", lambda command: 1)
    with pytest.raises(OSError, match="child process has failed to shutdown"):
        system.guest_shutdown(CONTEXT, None)


@pytest.mark.parametrize(("able", "commands", "written"), [
    ("systemctl", [["systemctl", "hibernate"]], ""),
    ("pm-hibernate", [["systemctl", "hibernate"], ["pm-hibernate"]], ""),
    ("", [["systemctl", "hibernate"], ["pm-hibernate"]], "disk"),
])  # fmt: skip
def test_sleep_is_asked_of_systemd_then_of_pm_utils_then_of_the_kernel(
    able: str, commands: list[list[str]], written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    state = tmp_path / "sys/power/state"
    state.parent.mkdir(parents=True)
    state.write_text("freeze mem disk\n")
    run: list[list[str]] = []

    def run_to_end(command: list[str]) -> int:
        run.append(command)
        return 0 if command[0] == able else 1

    monkeypatch.setattr(power, "run_to_end", run_to_end)
    power.sleep("disk", str(tmp_path))
    assert run == commands
    assert state.read_text().startswith(written or "freeze")


@pytest.mark.parametrize(
    ("mode", "states"), [("hybrid", "mem disk"), ("ram", "disk"), ("disk", "mem"), ("ram", None)]
)
def test_a_way_to_sleep_that_the_system_does_not_have_is_not_supported(
    mode: str, states: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if states is not None:
        (tmp_path / "sys/power").mkdir(parents=True)
        (tmp_path / "sys/power/state").write_text(states)
    monkeypatch.setattr(power, "run_to_end", lambda command: 1)
    with pytest.raises(OSError, match=r"the requested suspend mode is not supported by the guest$"):
        power.sleep(mode, str(tmp_path))


def test_the_error_of_a_sleep_that_the_kernel_refuses_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    (tmp_path / "sys/power").mkdir(parents=True)
    (tmp_path / "sys/power/state").write_text("mem disk")
    monkeypatch.setattr(power, "run_to_end", lambda command: 1)
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="child process has failed to suspend: No such device") as caught:
        power.sleep("disk", str(tmp_path))
    assert caught.value.errno == errno.ENODEV
