"""The commands that describe the system."""

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
    Command(
        "metrics",
        "Return the kernel's counters, for monitoring: CPUs, memory, pressure, disks, filesystems and network.",
        handler="metrics:metrics",
        method="metrics",
        result="Metrics",
        returns="Object with the figures of `/proc` and `/sys`, which count from boot: `time` and `boot_time` "
        "(seconds since the epoch); `frozen`; `uname`; `os` (variables of os-release(5) in lower case); "
        "`loadavg`; `ticks_per_second`; `activity` (`interrupts`, `context_switches`, `forks`; the threads "
        "now `running` and `blocked`); `memory` (`/proc/meminfo` in bytes; `HugePages_` are numbers of "
        "pages); `vmstat`; `pressure` (`cpu`, `io`, `memory`, and `irq`, each with `some` and `full`: "
        "`avg10`, `avg60`, `avg300` in percent, `total` in microseconds; empty without PSI); `cpus` (the "
        "online ones, times in ticks); `disks` (sectors have 512 bytes); `filesystems` (sizes in bytes, "
        "`files` are inodes; `error` instead if statfs(2) failed); `interfaces` (`state` is the operational "
        "one, `hardware` is 1 unless the kernel made it up, such as a bridge); `omitted`, the number of entries that "
        "are left out because a list has more than 1024. A figure that the kernel does not have is missing. "
        "Network and FUSE filesystems are left out, because they could hang. While filesystems are frozen, "
        "`filesystems` and `os` are empty, so that no frozen one is touched.",
        examples=(
            Example(
                {},
                {
                    "time": 1767225600.25,
                    "boot_time": 1767139200,
                    "frozen": False,
                    "uname": {
                        "sysname": "Linux",
                        "nodename": "web1",
                        "release": "6.1.0-40-amd64",
                        "version": "#1 SMP PREEMPT_DYNAMIC",
                        "machine": "x86_64",
                        "domain": "(none)",
                    },
                    "os": {"id": "debian", "version_id": "12"},
                    "loadavg": {"1m": 0.04, "5m": 0.02, "15m": 0.0},
                    "ticks_per_second": 100,
                    "activity": {
                        "interrupts": 900000,
                        "context_switches": 1800000,
                        "forks": 9000,
                        "running": 1,
                        "blocked": 0,
                    },
                    "memory": {"MemTotal": 1024000000, "MemFree": 512000000, "MemAvailable": 800000000},
                    "vmstat": {"pgfault": 2000000, "oom_kill": 0},
                    "pressure": {"cpu": {"some": {"avg10": 0.5, "avg60": 0.2, "avg300": 0.1, "total": 12000000}}},
                    "cpus": [
                        {
                            "cpu": 0,
                            "user": 30000,
                            "nice": 0,
                            "system": 12000,
                            "idle": 8500000,
                            "iowait": 900,
                            "irq": 0,
                            "softirq": 300,
                            "steal": 0,
                            "guest": 0,
                            "guest_nice": 0,
                        }
                    ],
                    "disks": [
                        {
                            "name": "vda",
                            "reads": 20000,
                            "reads_merged": 400,
                            "sectors_read": 1400000,
                            "read_ms": 9000,
                            "writes": 50000,
                            "writes_merged": 30000,
                            "sectors_written": 2400000,
                            "write_ms": 60000,
                            "in_progress": 0,
                            "io_ms": 40000,
                            "weighted_io_ms": 70000,
                            "discards": 0,
                            "discards_merged": 0,
                            "sectors_discarded": 0,
                            "discard_ms": 0,
                            "flushes": 9000,
                            "flush_ms": 3000,
                        }
                    ],
                    "filesystems": [
                        {
                            "mountpoint": "/",
                            "type": "ext4",
                            "source": "/dev/vda1",
                            "size": 2048000000,
                            "free": 1228800000,
                            "available": 1126400000,
                            "files": 128000,
                            "files_free": 96000,
                            "read_only": False,
                        }
                    ],
                    "interfaces": [
                        {
                            "name": "eth0",
                            "state": "up",
                            "mtu": 1500,
                            "hardware": 1,
                            "rx_bytes": 10000000,
                            "rx_packets": 9000,
                            "rx_errors": 0,
                            "rx_dropped": 0,
                            "rx_fifo": 0,
                            "rx_frame": 0,
                            "rx_compressed": 0,
                            "rx_multicast": 0,
                            "tx_bytes": 2000000,
                            "tx_packets": 7000,
                            "tx_errors": 0,
                            "tx_dropped": 0,
                            "tx_fifo": 0,
                            "tx_collisions": 0,
                            "tx_carrier": 0,
                            "tx_compressed": 0,
                        }
                    ],
                    "omitted": 0,
                },
                exact=False,
            ),
        ),
        while_frozen=True,
    ),
)
