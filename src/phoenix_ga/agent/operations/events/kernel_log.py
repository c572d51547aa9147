"""Events that only the kernel's log tells of: processes that it has killed."""

from __future__ import annotations

import os
from errno import EPIPE

from phoenix_ga.agent.linux.source import READS_MAX, Source
from phoenix_ga.agent.operations.events.producer import Producer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.events.producer import Tell

# A record is shorter, see Documentation/ABI/testing/dev-kmsg.
_RECORD_MAX: Final = 8192
_OOM_KILL: Final = "oom-kill:"
# Of ext4, btrfs and xfs.
_READ_ONLY: Final = ("Remounting filesystem read-only", "forced readonly", "Filesystem has been shut down")


class KernelLog(Source):
    """Reads the texts of new records of /dev/kmsg. Raises OSError if the agent must not."""

    def __init__(self) -> None:
        super().__init__(os.open("/dev/kmsg", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self) -> tuple[list[str], bool]:
        found: list[str] = []
        for _ in range(READS_MAX):
            try:
                record = os.read(self.fd, _RECORD_MAX)
            except BlockingIOError:
                return found, False
            except OSError as error:
                if error.errno != EPIPE:
                    raise
                # The kernel has overwritten records that were not read.
                self.lost = True
                continue
            text = text_of_kernel(record)
            if text:
                found.append(text)
        return found, True


class KernelLogProducer(Producer):
    """Tells of processes that were killed, and finds disks whose filesystems take no more writes after an error."""

    names = ("OOM_KILL",)

    def __init__(self) -> None:
        super().__init__(KernelLog())

    def take(self, items: list[Any], tell: Tell) -> None:
        for text in items:
            if text.startswith(_OOM_KILL):
                tell("OOM_KILL", parse_oom_kill(text), None)
            elif any(words in text for words in _READ_ONLY):
                # `EXT4-fs (vdb): ...`, `XFS (vdb): ...`, `BTRFS info (device vdb): ...`
                words = text.partition("(")[2].partition(")")[0].split()
                self.failed_devices += words[words[:1] == ["device"] :][:1]


def text_of_kernel(record: bytes) -> str:
    """Return the text of a record of /dev/kmsg; empty if a program has written it."""
    head, _, text = record.partition(b";")
    priority = head.partition(b",")[0]
    # The bits above the level are the facility, which is 0 for the kernel alone.
    if not priority.isdigit() or int(priority) >> 3:
        return ""
    return text.partition(b"\n")[0].decode("utf-8", "surrogateescape")


def parse_oom_kill(text: str) -> dict[str, Any]:
    """Return the data of `oom-kill:constraint=...,task_memcg=...,task=...,pid=...,uid=...`, see mm/oom_kill.c."""
    rest, _, uid = text.rpartition(",uid=")
    rest, _, pid = rest.rpartition(",pid=")
    # Both names may have commas; a control group has no name that a process chose.
    rest, _, name = rest.partition(",task=")
    cgroup = rest.rpartition("task_memcg=")[2]
    return {
        "pid": int(pid) if pid.isdigit() else 0,
        "name": name,
        "uid": int(uid) if uid.isdigit() else 0,
        "cgroup": cgroup,
        "constraint": "cgroup" if "constraint=CONSTRAINT_MEMCG" in text else "system",
    }
