"""Freezes a whole guest, on the kinds of devices that guests have, and tells how it went.

Run as root in a guest that can be thrown away: `python3 freeze_check.py DIRECTORY`, where DIRECTORY
holds the package (or is dist/phoenix-ga.pyz). Needs lvm2, e2fsprogs, xfsprogs, btrfs-progs and
util-linux, and 500 MB on a root filesystem that can be frozen. Makes, on files of the root:

    root -> LVM -> ext4 "lvm" (also bind-mounted) -> file -> ext4 "inner"
    root -> xfs "xfs"
    root -> btrfs, subvolumes "one" and "two" mounted, and in a third, not mounted itself -> file -> ext4 "hidden"

Prints one line of JSON: `ok`, `problems`, the mount points in the order of freezing, and the disks
as `sysinfo` shows them. Exit status 0 where all is well.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, sys.argv[1])

from phoenix_ga.agent.linux.freeze import FITHAW
from phoenix_ga.agent.operations import system
from phoenix_ga.agent.operations.freeze.freezer import Freezer

BASE = "/var/tmp/freeze-check"
RUN_DIRECTORY = "/run/freeze-check"
GROUP = "freezecheck"
# Seconds: how long a writer must be seen waiting, how long anything may take, and when all is thawed by force.
BLOCKED = 1.0
PATIENCE = 20.0
RESCUE = 90.0

# Filesystem -> what must be frozen after it.
BEFORE = {
    "inner": ("lvm",),
    "hidden": ("btrfs", "root"),
    "lvm": ("root",),
    "xfs": ("root",),
    "btrfs": ("root",),
}


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout.strip()


def loop(image: str, size: str) -> str:
    run("truncate", "-s", size, image)
    return run("losetup", "--find", "--show", image)


def mount(source: str, name: str, *options: str) -> str:
    point = f"{BASE}/{name}"
    os.makedirs(point, exist_ok=True)
    run("mount", *options, source, point)
    return point


def build() -> dict[str, list[str]]:
    """Make the filesystems; return the places where each is mounted."""
    os.makedirs(BASE)
    volume = loop(f"{BASE}/lvm.img", "400M")
    run("pvcreate", "--yes", volume)
    run("vgcreate", GROUP, volume)
    run("lvcreate", "--yes", "--extents", "100%FREE", "--name", "data", GROUP)
    run("mkfs.ext4", "-q", f"/dev/{GROUP}/data")
    lvm = mount(f"/dev/{GROUP}/data", "lvm")
    bind = mount(lvm, "bind", "--bind")

    inner_device = loop(f"{lvm}/inner.img", "64M")
    run("mkfs.ext4", "-q", inner_device)
    inner = mount(inner_device, "inner")

    xfs_device = loop(f"{BASE}/xfs.img", "320M")
    run("mkfs.xfs", "-q", xfs_device)
    xfs = mount(xfs_device, "xfs")

    btrfs_device = loop(f"{BASE}/btrfs.img", "320M")
    run("mkfs.btrfs", "-q", btrfs_device)
    top = mount(btrfs_device, "top")
    for name in ("one", "two", "one/three"):
        run("btrfs", "subvolume", "create", f"{top}/{name}")
    one = mount(btrfs_device, "one", "-o", "subvol=one")
    two = mount(btrfs_device, "two", "-o", "subvol=two")
    run("umount", top)
    hidden_device = loop(f"{one}/three/hidden.img", "64M")
    run("mkfs.ext4", "-q", hidden_device)
    hidden = mount(hidden_device, "hidden")
    return {
        "root": [BASE],
        "lvm": [lvm, bind],
        "inner": [inner],
        "xfs": [xfs],
        "btrfs": [one, two, f"{one}/three"],
        "hidden": [hidden],
    }


def take_down() -> None:
    for _ in range(3):
        # What is on a loop file goes first, then what holds the file.
        for name in ("hidden", "two", "one", "top", "xfs", "inner", "bind", "lvm"):
            subprocess.run(["umount", f"{BASE}/{name}"], stderr=subprocess.DEVNULL)
        subprocess.run(["vgremove", "--yes", GROUP], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines():
            device, _, backing = line.partition(" ")
            if BASE in backing or backing.strip().startswith(("/inner.img", "/three/hidden.img")):
                subprocess.run(["losetup", "--detach", device], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", BASE])


def rescue(places: list[str]) -> int:
    """Start a process that thaws all after a while, whatever became of this one; return its number."""
    descriptors = [os.open(place, os.O_RDONLY) for place in places]
    child = os.fork()
    if child == 0:
        time.sleep(RESCUE)
        for _ in range(3):
            for descriptor in descriptors:
                try:
                    fcntl.ioctl(descriptor, FITHAW, 0)
                except OSError:
                    continue
        os._exit(1)
    for descriptor in descriptors:
        os.close(descriptor)
    return child


class Writer:
    """A process that makes a file in a directory. Forked only: executing needs a disk."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.process = os.fork()
        if self.process == 0:
            try:
                os.close(os.open(f"{place}/written", os.O_CREAT | os.O_WRONLY))
                os.unlink(f"{place}/written")
            finally:
                os._exit(0)
        self.has_ended = False

    def ended(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while not self.has_ended:
            self.has_ended = os.waitpid(self.process, os.WNOHANG)[0] != 0
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return self.has_ended


def check_writers(places: dict[str, list[str]], thaw: object, problems: list[str]) -> None:
    """Every filesystem is frozen: writers must wait everywhere, and go on after `thaw`."""
    writers = [Writer(place) for each in places.values() for place in each]
    time.sleep(BLOCKED)
    problems.extend(f"{writer.place} took a write while frozen" for writer in writers if writer.ended(0))
    assert callable(thaw)
    thaw()
    problems.extend(f"{writer.place} still blocks after the thaw" for writer in writers if not writer.ended(PATIENCE))


def check_order(frozen: list[str], places: dict[str, list[str]], problems: list[str]) -> None:
    index: dict[str, int] = {}
    for name, points in places.items():
        points = ["/"] if name == "root" else points
        found = [number for number, point in enumerate(frozen) if point in points]
        if len(found) != 1:
            problems.append(f"{name} was frozen {len(found)} times")
        index[name] = found[0] if found else -1
    for first, others in BEFORE.items():
        problems.extend(f"{other} was frozen before {first}" for other in others if index[first] > index[other])


def freeze_in_child() -> int:
    """Freeze all in a process of its own, which then waits; return its number."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        freezer = Freezer(print, RUN_DIRECTORY)
        try:
            while not freezer.frozen:
                try:
                    freezer.freeze()
                except OSError as error:
                    # The watchdog of an earlier one may still be there.
                    if error.errno != errno.EBUSY:
                        raise
                    time.sleep(0.1)
            os.write(tell, b".")
            time.sleep(2 * RESCUE)
        finally:
            os._exit(1)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def check(places: dict[str, list[str]], problems: list[str]) -> list[str]:
    log: list[str] = []
    for name in places:
        with open(f"{places[name][0]}/dirty", "wb") as file:
            file.write(os.urandom(1 << 20))

    freezer = Freezer(log.append, RUN_DIRECTORY)
    started = time.monotonic()
    frozen = freezer.freeze()
    took = time.monotonic() - started
    try:
        if not freezer.frozen:
            problems.append("not frozen after the freeze")
        check_order(frozen, places, problems)
        check_writers(places, freezer.thaw, problems)
    finally:
        freezer.thaw()
    if freezer.frozen:
        problems.append("frozen after the thaw")
    log.append(f"the freeze took {took:.3f} s")

    # One that somebody else froze is left alone.
    other = os.open(places["xfs"][0], os.O_RDONLY)
    run("fsfreeze", "--freeze", places["xfs"][0])
    again = freezer.freeze()
    freezer.thaw()
    if places["xfs"][0] in again or len(again) != len(frozen) - 1:
        problems.append(f"froze {again} while the xfs was frozen already")
    try:
        fcntl.ioctl(other, FITHAW, 0)
    except OSError as error:
        problems.append(f"thawed the xfs that somebody else froze: {errno.errorcode.get(error.errno or 0)}")
    os.close(other)

    # An agent is killed while all is frozen, and its watchdog thaws.
    first = freeze_in_child()
    check_writers(places, lambda: kill(first), problems)
    successor = Freezer(log.append, RUN_DIRECTORY)
    successor.recover()
    if successor.record.ended != "died":
        problems.append(f"the successor of a watchdog knows only of {successor.record.ended!r}")

    # Both are killed, and the next agent finds that.
    child = freeze_in_child()
    with open(f"/proc/{child}/task/{child}/children") as file:
        watchdog = int(file.read())
    os.kill(watchdog, signal.SIGKILL)
    kill(child)
    successor = Freezer(log.append, RUN_DIRECTORY)
    recovered: list[int] = []
    check_writers(places, lambda: recovered.append(successor.recover()), problems)
    if recovered != [len(frozen)]:
        problems.append(f"the successor thawed {recovered}, not {len(frozen)}")
    problems.extend(line for line in log if "cannot" in line or "may have stayed" in line)
    return [*frozen, *log]


def main() -> int:
    problems: list[str] = []
    told: list[str] = []
    disks: list[list[object]] = []
    take_down()
    try:
        places = build()
        disks = [[disk.path, disk.point, disk.total, disk.used] for disk in system.disks()]
        if [f"/dev/mapper/{GROUP}-data", places["lvm"][0]] not in [disk[:2] for disk in disks]:
            problems.append("the logical volume is not among the disks")
        rescuer = rescue([place for each in places.values() for place in each])
        try:
            told = check(places, problems)
        finally:
            if os.waitpid(rescuer, os.WNOHANG)[0]:
                problems.append(f"had to be rescued after {RESCUE:.0f} s")
            else:
                os.kill(rescuer, signal.SIGKILL)
                os.waitpid(rescuer, 0)
    except Exception:
        problems.append(traceback.format_exc())
    take_down()
    print(json.dumps({"ok": not problems, "problems": problems, "told": told, "disks": disks}))
    return 0 if not problems else 1


if __name__ == "__main__":
    sys.exit(main())
