"""A small fake root directory, for what reads /proc and /sys."""

from __future__ import annotations

from pathlib import Path

MOUNTINFO = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
30 27 8:17 / /srv/my\040data\011\134\012x rw,nosuid shared:3 master:2 - ext4 /dev/sdb1 rw
31 27 8:17 /sub /bind ro,relatime - ext4 /dev/sdb1 rw
32 27 11:0 / /media/cd rw - iso9660 /dev/sr0 ro,norock
33 27 0:40 / /net rw - nfs4 server:/export rw,vers=4.2
34 27 0:41 / /tmp rw - tmpfs /dev/vda rw
35 27 0:42 /@home /home rw - btrfs /dev/mapper/pool rw,subvol=/@home
36 27 0:42 /@ /mnt/caf""" + (
    b"\xe9\r rw - btrfs /dev/mapper/pool rw\n37 27 0:43 / /fuse rw - fuse.sshfs /dev/vda1 rw\n"
)


def make_tree(tmp_path: Path) -> str:
    """Make a mountinfo and a sysfs: vda with two partitions, sdb1, sdc, sr0, dm-0 on vda2, loop0.

    A btrfs is on dm-0 and sdc. Returns the directory.
    """
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_bytes(MOUNTINFO)

    def device(path: str, number: str, sectors: int) -> Path:
        directory = tmp_path / "sys/block" / path
        (directory / "slaves").mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        (directory / "size").write_text(f"{sectors}\n")
        if "/" in path:
            (directory / "partition").write_text("1\n")
        return directory

    device("vda", "254:0", 2048)
    device("vda/vda1", "254:1", 1024)
    device("vda/vda2", "254:2", 1024)
    device("sdb", "8:16", 2048)
    device("sdb/sdb1", "8:17", 2048)
    device("sdc", "8:32", 2048)
    device("sr0", "11:0", 1000)
    mapped = device("dm-0", "253:0", 4096)
    (mapped / "slaves/vda2").mkdir()
    (mapped / "dm").mkdir()
    (mapped / "dm/name").write_text("pool\n")
    loop = device("loop0", "7:0", 100)
    (loop / "loop").mkdir()
    (loop / "loop/backing_file").write_text("/srv/image (deleted)\n")
    for name in ("dm-0", "sdc"):
        (tmp_path / "sys/fs/btrfs/5f3c/devices" / name).mkdir(parents=True)
    (tmp_path / "dev/mapper").mkdir(parents=True)
    (tmp_path / "dev/dm-0").write_text("")
    (tmp_path / "dev/mapper/pool").symlink_to("../dm-0")
    return str(tmp_path)
