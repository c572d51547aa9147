"""The command that describes the system."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Command, Example

COMMANDS = (
    Command(
        "sysinfo",
        "Describe the system: kernel, load, memory, logged-in users and disks.",
        handler="system:sysinfo",
        method="sysinfo",
        result="SystemInformation",
        returns="Object with `uname`, `long_bit`, `uptime` (seconds), `loadavg`, `ram` and `swap` (KiB), `users` "
        "(`login_time` in seconds since the epoch) and `disks` (sizes in KiB, of the mounted filesystem; 0 if none "
        "is mounted). A disk has the mount point of a filesystem that it holds directly or through partitions, LVM, "
        "LUKS or RAID. If it holds several, the mount point is `/`, or else the shortest path.",
        examples=(
            Example(
                {},
                {
                    "uname": {
                        "sysname": "Linux",
                        "nodename": "web1",
                        "release": "6.1.0-40-amd64",
                        "version": "#1 SMP PREEMPT_DYNAMIC",
                        "machine": "x86_64",
                        "domain": "(none)",
                    },
                    "long_bit": 64,
                    "uptime": 86400,
                    "loadavg": {"1m": 0.04, "5m": 0.02, "15m": 0.0},
                    "ram": {"total": 1000000, "free": 500000, "buffer": 20000},
                    "swap": {"total": 0, "free": 0},
                    "users": [{"name": "root", "device": "ttyS0", "host": "", "login_time": 1767225600}],
                    "disks": [
                        {
                            "name": "/dev/vda",
                            "is_mounted": True,
                            "mountpoint": "/",
                            "size_total": 2000000,
                            "size_used": 800000,
                            "size_avail": 1100000,
                        }
                    ],
                },
                exact=False,
            ),
        ),
    ),
)
