"""Growing filesystems: how far partitions can grow, real filesystems on loop devices, and programs that fail."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.agent.operations.grow.grow import grow
from phoenix_ga.agent.operations.grow.partitions import find_entry, find_room, read_table
from phoenix_ga.agent.operations.grow.tools import find_tool, run_tool
from tests.agent.loop_devices import Bench, needs_root, program, run

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("label", "disk", "others", "number", "size", "obstacle"),
    [
        # The last MiB of a GPT is not used, because its copy is there.
        ("gpt", 10 * GIB, [(MIB, MIB)], 2, 10 * GIB - 3 * MIB, ""),
        ("dos", 10 * GIB, [(MIB, MIB)], 2, 10 * GIB - 2 * MIB, ""),
        # The kernel and the table may order partitions differently; what counts is where they are.
        ("gpt", 10 * GIB, [(5 * GIB, GIB), (MIB, MIB)], 3, 5 * GIB - 2 * MIB, "not the last partition"),
        ("gpt", 10 * GIB, [(GIB + 2 * MIB, GIB)], 1, GIB, "not the last partition"),
        ("dos", 10 * GIB, [], 5, GIB, "extended partition"),
        ("sun", 10 * GIB, [], 1, GIB, "of the kind sun"),
        ("dos", 4096 * GIB, [], 1, (2**32 * 512) - 3 * MIB, "convert it to GPT"),
        # A disk that was made smaller.
        ("gpt", GIB, [], 1, GIB, ""),
    ],
)
def test_a_partition_grows_up_to_what_follows_it(
    label: str, disk: int, others: list[tuple[int, int]], number: int, size: int, obstacle: str
) -> None:
    own = (2 * MIB, GIB)
    room = find_room(own, [own, *others], disk, 512, label, number, "/dev/vda2")
    assert room.size == size
    assert (room.start, room.size % MIB) == (4096, 0)
    assert obstacle in room.obstacle
    assert bool(obstacle) == bool(room.obstacle)


def test_a_table_may_be_ahead_of_the_kernel_but_not_different() -> None:
    partitions = [(MIB, 8 * MIB), (9 * MIB, 16 * MIB)]
    assert find_entry(9 * MIB, 4 * MIB, partitions) == (9 * MIB, 16 * MIB)
    assert find_entry(9 * MIB, 17 * MIB, partitions) is None
    assert find_entry(2 * MIB, MIB, partitions) is None


@pytest.mark.programs("sfdisk")
@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_sfdisk_changes_nothing_but_the_size(tmp_path: Path, label: str) -> None:
    image = tmp_path / "disk"

    def dump() -> list[str]:
        lines = run("sfdisk", "--dump", image).splitlines()
        return [" ".join(line.split()) for line in lines if not line.startswith("last-lba")]

    run("truncate", "-s", "64M", image)
    named = 'name="start=1, size=2"' if label == "gpt" else "bootable"
    table = f"label: {label}\nsize=8M\nsize=32M, {named}\n"
    subprocess.run([program("sfdisk"), "-q", image], input=table.encode(), check=True)
    with image.open("r+b") as file:
        file.seek(9 * MIB + 1024)
        # The signature of an ext4.
        file.write(b"\0" * 56 + b"\x53\xef")
    before = dump()
    run("truncate", "-s", "128M", image)
    room = find_room((9 * MIB, 32 * MIB), [(MIB, 8 * MIB), (9 * MIB, 32 * MIB)], 128 * MIB, 512, label, 2, "disk2")
    options = ("--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never")
    change = f"start={room.start}, size={room.size // room.unit}\n".encode()
    run_tool(("sfdisk", *options, "-N", "2", str(image)), change)
    assert read_table(run("sfdisk", "--dump", image), 512) == (label, [(MIB, 8 * MIB), (9 * MIB, room.size)])
    assert dump() == [line.replace(f"{32 * MIB // 512}", f"{room.size // 512}") for line in before]
    assert image.read_bytes()[9 * MIB + 1024 + 56 :][:2] == b"\x53\xef"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@needs_root
@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "tool", "sizes"),
    [
        # ext4 in tests/guest: it needs CAP_SYS_RESOURCE, which root in a container may lack.
        ("xfs", "xfs_growfs", ("320M", "400M")),
        ("btrfs", "btrfs", ("128M", "256M")),
    ],
)
def test_a_mounted_filesystem_grows_with_its_device(
    bench: Bench, tmp_path: Path, kind: str, tool: str, sizes: tuple[str, str]
) -> None:
    find_tool(tool)
    point = bench.make(tmp_path / "image", "mount", kind, sizes[0])
    loop = run("findmnt", "-no", "SOURCE", point)
    before = os.statvfs(point)
    assert grow(str(point), False, "") == {"steps": [], "notes": [], "refused": "", "failed": "", "locked": []}
    run("truncate", "-s", sizes[1], tmp_path / "image")
    run("losetup", "--set-capacity", loop)
    (step,) = grow(loop, True, "")["steps"]
    assert (step["layer"], step["name"], step["done"]) == ("filesystem", str(point), False)
    assert step["after"] == int(sizes[1][:-1]) * MIB
    assert os.statvfs(point).f_blocks == before.f_blocks
    grown = grow(str(point), False, "")
    assert grown["failed"] == ""
    (step,) = grown["steps"]
    assert (step["after"], step["done"]) == (int(sizes[1][:-1]) * MIB, True)
    assert os.statvfs(point).f_blocks > before.f_blocks
    assert grow(loop, False, "")["steps"] == []


@needs_root
@pytest.mark.root
def test_what_cannot_grow_is_refused(bench: Bench, tmp_path: Path) -> None:
    point = bench.make(tmp_path / "image", "mount", "ext4")
    run("mount", "-o", "remount,ro", point)
    assert "is read-only" in grow(str(point), False, "")["refused"]
    with pytest.raises(OSError, match="neither a mount point of a local filesystem nor a block device") as caught:
        grow("/nowhere", False, "")
    assert caught.value.errno == errno.ENOENT


def test_a_program_that_fails_says_why() -> None:
    assert run_tool(("cat",), b"given") == "given"
    with pytest.raises(OSError, match="cat failed: cat: /nowhere: No such file"):
        run_tool(("cat", "/nowhere"))
    with pytest.raises(OSError, match="sleep took more than"):
        run_tool(("sleep", "1000"), time_limit=0.1)
    with pytest.raises(OSError, match="has no absent-program: install its package") as caught:
        run_tool(("absent-program",))
    assert caught.value.errno == errno.ENOENT
    # What a program leaves behind is not waited for.
    assert run_tool(("sh", "-c", "sleep 1000 & echo done; kill $!")) == "done\n"
    assert len(run_tool(("head", "-c", "3000000", "/dev/zero"))) == 1 << 20
