"""`phoenixctl stat`"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.arguments import PATHS
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_path import each_path
from phoenix_ga.cli.file_status import device_numbers, group_of, mode_of, owner_of, status_to_json
from phoenix_ga.cli.output import escape, moment
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import FileStatus, Guest

_KINDS = (
    (stat.S_ISREG, "regular file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
)


@verb(
    short_help="Show the status of files in the guest.",
    epilog="""\b
Example:
  $ phoenixctl stat web1:/etc/hosts
""",
)
@PATHS
@click.option("-L", "--dereference", is_flag=True, help="Follow symbolic links.")
@click.pass_obj
def command(options: Options, paths: tuple[str, ...], dereference: bool) -> int:
    """Show type, size, owners, permissions and times of files in the guest, as stat(1) does."""

    async def work(guest: Guest, path: str) -> FileStatus:
        return await guest.files.stat(path, dereference, names=True)

    return each_path(
        options, paths, work, lambda path, status: (status_to_json(path, status), _as_text(path, status))
    )


def _as_text(path: str, status: FileStatus) -> str:
    mode = mode_of(status)
    kind = next((name for test, name in _KINDS if test(mode)), "unknown")
    link = f" -> {escape(status.target)}" if status.target else ""
    device = ",".join(map(str, device_numbers(status.device)))
    special = ""
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        special = "  Device type: " + ",".join(map(str, device_numbers(status.special_device)))
    return "\n".join(
        (
            f"  File: {escape(path)}{link}",
            f"  Size: {status.size:<15} Blocks: {status.blocks:<10} IO Block: {status.block_size:<6} {kind}",
            f"Device: {device:<15} Inode: {status.inode:<11} Links: {status.links}{special}",
            f"Access: ({status.permissions:04o}/{stat.filemode(mode)})  "
            f"Uid: ({status.uid:5}/{escape(owner_of(status)):>8})   "
            f"Gid: ({status.gid:5}/{escape(group_of(status)):>8})",
            f"Access: {_precise(status.accessed)}",
            f"Modify: {_precise(status.modified)}",
            f"Change: {_precise(status.changed)}",
        )
    )


def _precise(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    text = moment(seconds, "%Y-%m-%d %H:%M:%S")
    return f"{text}.{rest:09d} {moment(seconds, '%z')}" if text != str(seconds) else f"{seconds}.{rest:09d}"
