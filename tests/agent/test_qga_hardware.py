"""Processors and memory of a made-up sysfs, as the QEMU Guest Agent's clients get them.

What the kernel itself does of it is for a guest.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from phoenix_ga.agent.context import Context
from phoenix_ga.agent.dialects.qga import hardware
from phoenix_ga.agent.dialects.qga.schema import UNSIGNED
from phoenix_ga.agent.operations import processors
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.declaration import ArgumentError

CONTEXT = cast("Context", SimpleNamespace())


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def add_processors(root: Path, **online: str) -> None:
    """Add processors; one without a state has no file for it."""
    for name, state in online.items():
        (root / "sys/devices/system/cpu" / name).mkdir(parents=True)
        if state:
            write(root, {f"sys/devices/system/cpu/{name}/online": f"{state}\n"})


def add_memory(root: Path, **blocks: str) -> None:
    """Add blocks of memory, each of a state and whether it is removable; empty: without these files."""
    for name, text in blocks.items():
        (root / "sys/devices/system/memory" / name).mkdir(parents=True)
        if text:
            state, removable = text.split()
            directory = f"sys/devices/system/memory/{name}"
            write(root, {f"{directory}/state": f"{state}\n", f"{directory}/removable": f"{removable}\n"})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that processors and memory are looked for in."""
    for name in ("_PROCESSORS", "_MEMORY"):
        monkeypatch.setattr(processors, name, f"{tmp_path}{getattr(processors, name)}")
    return tmp_path


def test_processors_come_in_the_order_of_their_numbers_and_the_first_has_to_stay(root: Path) -> None:
    add_processors(root, cpu10="1", cpu2="0", cpu0="", cpufreq="", cpuidle="")
    assert hardware.guest_get_vcpus(CONTEXT) == [
        {"logical-id": 0, "online": True, "can-offline": False},
        {"logical-id": 2, "online": False, "can-offline": True},
        {"logical-id": 10, "online": True, "can-offline": True},
    ]


def test_processors_are_set_up_to_the_first_that_fails(root: Path) -> None:
    add_processors(root, cpu0="", cpu1="1", cpu2="1")
    off = {number: {"logical-id": number, "online": False} for number in (0, 1, 2, 9)}
    assert hardware.guest_set_vcpus(CONTEXT, [off[1], off[9], off[2]]) == 1
    assert (root / "sys/devices/system/cpu/cpu1/online").read_text().strip() == "0"
    assert (root / "sys/devices/system/cpu/cpu2/online").read_text().strip() == "1"
    with pytest.raises(CommandError, match=r"^logical processor #0 can't be offlined$"):
        hardware.guest_set_vcpus(CONTEXT, [off[0], off[2]])
    with pytest.raises(CommandError, match=r"No such file or directory$"):
        hardware.guest_set_vcpus(CONTEXT, [off[9]])
    assert hardware.guest_set_vcpus(CONTEXT, []) == 0


def test_the_error_of_a_processor_that_is_busy_tells_which(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_processors(root, cpu0="", cpu1="1")

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(CommandError, match=r"/cpu1/online.*: Device or resource busy$"):
        hardware.guest_set_vcpus(CONTEXT, [{"logical-id": 1, "online": False}])


def test_a_machine_without_blocks_of_memory_has_none(root: Path) -> None:
    assert hardware.guest_get_memory_blocks(CONTEXT) == []


def test_blocks_of_memory_are_told_and_set_one_by_one(root: Path) -> None:
    add_memory(root, memory3="online 1", memory4="offline 1", memory12="online 0", memory20="")
    assert hardware.guest_get_memory_blocks(CONTEXT) == [
        {"phys-index": 3, "online": True, "can-offline": True},
        {"phys-index": 4, "online": False, "can-offline": True},
        {"phys-index": 12, "online": True, "can-offline": False},
        # As with qemu-ga: a kernel that does not tell can't change it either.
        {"phys-index": 20, "online": True, "can-offline": False},
    ]
    asked = [{"phys-index": number, "online": number == 4} for number in (3, 4, 20, 99)]
    assert hardware.guest_set_memory_blocks(CONTEXT, asked) == [
        {"phys-index": 3, "response": "success"},
        {"phys-index": 4, "response": "success"},
        {"phys-index": 20, "response": "operation-not-supported", "error-code": errno.ENOENT},
        {"phys-index": 99, "response": "not-found", "error-code": errno.ENOENT},
    ]
    # Beyond what was written, a plain file keeps what was there.
    assert (root / "sys/devices/system/memory/memory3/state").read_text().startswith("offline")
    assert (root / "sys/devices/system/memory/memory4/state").read_text().startswith("online")


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EINVAL])
def test_memory_that_the_kernel_keeps_is_a_failed_operation(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    add_memory(root, memory0="online 1")

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    assert hardware.guest_set_memory_blocks(CONTEXT, [{"phys-index": 0, "online": False}]) == [
        {"phys-index": 0, "response": "operation-failed", "error-code": code}
    ]


@pytest.mark.parametrize(("given", "taken"), [(0, 0), (2**64 - 1, 2**64 - 1), (-1, 2**64 - 1), (-(2**63), 2**63)])
def test_a_number_without_a_sign_is_taken_with_one_as_well(given: int, taken: int) -> None:
    assert UNSIGNED.check(given, "x") == taken


@pytest.mark.parametrize("given", [2**64, -(2**63) - 1, 1.0, True, "1", None])
def test_nothing_else_is_a_number_without_a_sign(given: Any) -> None:
    with pytest.raises(ArgumentError):
        UNSIGNED.check(given, "x")


def test_the_size_of_a_block_is_in_bytes(tmp_path: Path) -> None:
    write(tmp_path, {"sys/devices/system/memory/block_size_bytes": "8000000\n"})
    assert processors.memory_block_size(str(tmp_path)) == 128 * 1024 * 1024


def test_times_of_processors_are_in_milliseconds_and_an_old_kernel_tells_fewer(tmp_path: Path) -> None:
    write(tmp_path, {"proc/stat": "cpu  9 9 9 9\ncpu0 1 2 3 4\ncpu11 1 2 3 4 5 6 7 8 9 10\nintr 5\n"})
    tick = 1000 // os.sysconf("SC_CLK_TCK")
    first, second = processors.processor_statistics(str(tmp_path))
    assert first == {"cpu": 0, "user": tick, "nice": 2 * tick, "system": 3 * tick, "idle": 4 * tick}
    assert (second["cpu"], second["iowait"], second["guestnice"]) == (11, 5 * tick, 10 * tick)
