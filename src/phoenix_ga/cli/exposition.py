"""The metrics of a guest as Prometheus reads them, with the names, labels and units of its node_exporter.

A guest sends values and labels, never the names of metrics or labels. Labels are shortened, and a family has a
limited number of samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.output import escape

if TYPE_CHECKING:
    from phoenix_ga.client import Metrics

LABEL_MAX: Final = 256
SAMPLES_MAX: Final = 10_000

_SECTOR: Final = 512
# What node_exporter leaves out unless it is told otherwise: ram disks, partitions, and filesystems that hold no data.
_DISKS_EXCLUDED: Final = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
_TYPES_EXCLUDED: Final = frozenset(("erofs", "iso9660", "squashfs"))
_MOUNTS_EXCLUDED: Final = re.compile(
    r"/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMORY: Final = (
    *("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active", "Inactive"),
    *("Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "SwapTotal"),
    *("SwapFree", "Zswap", "Zswapped", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "KReclaimable", "Slab"),
    *("SReclaimable", "SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "NFS_Unstable", "Bounce"),
    *("WritebackTmp", "CommitLimit", "Committed_AS", "VmallocTotal", "VmallocUsed", "VmallocChunk", "Percpu"),
    *("HardwareCorrupted", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages", "FilePmdMapped"),
    *("Unaccepted", "Balloon", "CmaTotal", "CmaFree", "Hugepagesize", "Hugetlb", "DirectMap4k", "DirectMap2M"),
    *("DirectMap4M", "DirectMap1G"),
)
_PAGES: Final = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
_VMSTAT: Final = ("oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout")
_OS: Final = (
    *("build_id", "id", "id_like", "image_id", "image_version", "name", "pretty_name", "variant", "variant_id"),
    *("version", "version_codename", "version_id"),
)
_ACTIVITY: Final = (
    ("interrupts", "node_intr_total", "counter", "Total number of interrupts serviced."),
    ("context_switches", "node_context_switches_total", "counter", "Total number of context switches."),
    ("forks", "node_forks_total", "counter", "Total number of forks."),
    ("running", "node_procs_running", "gauge", "Number of processes in runnable state."),
    ("blocked", "node_procs_blocked", "gauge", "Number of processes blocked waiting for I/O to complete."),
)
_PRESSURE: Final = (
    ("cpu", "some", "waiting", "that processes have waited for CPU time"),
    ("io", "some", "waiting", "that processes have waited due to IO congestion"),
    ("io", "full", "stalled", "no process could make progress due to IO congestion"),
    ("memory", "some", "waiting", "that processes have waited for memory"),
    ("memory", "full", "stalled", "no process could make progress due to memory congestion"),
    ("irq", "full", "stalled", "no process could make progress due to IRQ congestion"),
)
# The counter, the metric, and the divisor or factor to its unit.
_DISK: Final = (
    ("reads", "reads_completed_total", 1, "The total number of reads completed successfully."),
    ("reads_merged", "reads_merged_total", 1, "The total number of reads merged."),
    ("sectors_read", "read_bytes_total", _SECTOR, "The total number of bytes read successfully."),
    ("read_ms", "read_time_seconds_total", 0.001, "The total number of seconds spent by all reads."),
    ("writes", "writes_completed_total", 1, "The total number of writes completed successfully."),
    ("writes_merged", "writes_merged_total", 1, "The number of writes merged."),
    ("sectors_written", "written_bytes_total", _SECTOR, "The total number of bytes written successfully."),
    ("write_ms", "write_time_seconds_total", 0.001, "This is the total number of seconds spent by all writes."),
    ("in_progress", "io_now", 1, "The number of I/Os currently in progress."),
    ("io_ms", "io_time_seconds_total", 0.001, "Total seconds spent doing I/Os."),
    ("weighted_io_ms", "io_time_weighted_seconds_total", 0.001, "The weighted # of seconds spent doing I/Os."),
    ("discards", "discards_completed_total", 1, "The total number of discards completed successfully."),
    ("discards_merged", "discards_merged_total", 1, "The total number of discards merged."),
    ("sectors_discarded", "discarded_sectors_total", 1, "The total number of sectors discarded successfully."),
    ("discard_ms", "discard_time_seconds_total", 0.001, "This is the total number of seconds spent by all discards."),
    ("flushes", "flush_requests_total", 1, "The total number of flush requests completed successfully"),
    (
        "flush_ms",
        "flush_requests_time_seconds_total",
        0.001,
        "This is the total number of seconds spent by all flush requests.",
    ),
)
_FILESYSTEM: Final = (
    ("size", "size_bytes", "Filesystem size in bytes."),
    ("free", "free_bytes", "Filesystem free space in bytes."),
    ("available", "avail_bytes", "Filesystem space available to non-root users in bytes."),
    ("files", "files", "Filesystem total file nodes."),
    ("files_free", "files_free", "Filesystem total free file nodes."),
    ("read_only", "readonly", "Filesystem read-only status."),
)
_INTERFACE: Final = (
    ("rx_bytes", "receive_bytes"),
    ("rx_packets", "receive_packets"),
    ("rx_errors", "receive_errs"),
    ("rx_dropped", "receive_drop"),
    ("rx_fifo", "receive_fifo"),
    ("rx_frame", "receive_frame"),
    ("rx_compressed", "receive_compressed"),
    ("rx_multicast", "receive_multicast"),
    ("tx_bytes", "transmit_bytes"),
    ("tx_packets", "transmit_packets"),
    ("tx_errors", "transmit_errs"),
    ("tx_dropped", "transmit_drop"),
    ("tx_fifo", "transmit_fifo"),
    ("tx_collisions", "transmit_colls"),
    ("tx_carrier", "transmit_carrier"),
    ("tx_compressed", "transmit_compressed"),
)


@dataclass
class Family:
    """A metric. type: `counter`, `gauge` or `untyped`. samples: the values by the label values."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    samples: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add(self, value: float, *labels: str) -> None:
        """Add a sample, unless there is one with these labels or there are too many."""
        if len(self.samples) < SAMPLES_MAX:
            self.samples.setdefault(tuple(map(_label, labels)), value)


def node_families(metrics: Metrics) -> list[Family]:
    """Return the metrics of a guest that node_exporter would have, those without a sample left out."""
    families = [
        *_system(metrics),
        *_processors(metrics),
        *_memory(metrics),
        *_disks(metrics),
        *_filesystems(metrics),
        *_interfaces(metrics),
    ]
    return [family for family in families if family.samples]


def to_text(families: Iterable[Family], openmetrics: bool = False) -> str:
    """Return metrics in the text format of Prometheus (version 0.0.4), or of OpenMetrics (1.0.0)."""
    lines = []
    for family in families:
        name, kind = family.name, family.type
        if openmetrics:
            name = name.removesuffix("_total") if kind == "counter" else name
            kind = "unknown" if kind == "untyped" else kind
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {kind}"]
        for values, value in family.samples.items():
            pairs = ",".join(f'{label}="{_quoted(text)}"' for label, text in zip(family.labels, values))
            lines.append(f"{family.name}{{{pairs}}} {value!r}" if pairs else f"{family.name} {value!r}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines)


def _system(metrics: Metrics) -> Iterator[Family]:
    yield _single("node_time_seconds", "System time in seconds since epoch (1970).", metrics.time)
    yield _single("node_boot_time_seconds", "Node boot time, in unixtime.", metrics.boot_time)
    load = metrics.load_average
    yield _single("node_load1", "1m load average.", load.one_minute)
    yield _single("node_load5", "5m load average.", load.five_minutes)
    yield _single("node_load15", "15m load average.", load.fifteen_minutes)
    kernel = metrics.kernel
    labels = {
        "domainname": kernel.domain,
        "machine": kernel.machine,
        "nodename": kernel.node,
        "release": kernel.release,
        "sysname": kernel.system,
        "version": kernel.version,
    }
    yield _information("node_uname_info", "Labeled system information as provided by the uname system call.", labels)
    if metrics.os:
        values = {name: metrics.os.get(name, "") for name in _OS}
        yield _information("node_os_info", f"A metric with a constant '1' value labeled by {', '.join(_OS)}.", values)
        family = Family(
            "node_os_version",
            "gauge",
            "Metric containing the major.minor part of the OS version.",
            ("id", "id_like", "name"),
        )
        if version := re.match(r"\d{1,6}(\.\d{1,6})?", metrics.os.get("version_id", "")):
            family.add(float(version[0]), values["id"], values["id_like"], values["name"])
        yield family
    yield from _chosen(metrics.activity, _ACTIVITY)
    for resource, kind, state, text in _PRESSURE:
        total = metrics.pressure.get(resource, {}).get(kind, {}).get("total")
        name = f"node_pressure_{resource}_{state}_seconds_total"
        family = Family(name, "counter", f"Total time in seconds {text}")
        if total is not None:
            family.add(total / 1e6)
        yield family
    fields = ((name, f"node_vmstat_{name}", "untyped", f"/proc/vmstat information field {name}.") for name in _VMSTAT)
    yield from _chosen(metrics.vmstat, fields)


def _processors(metrics: Metrics) -> Iterator[Family]:
    labels = ("cpu", "mode")
    guests = Family(
        "node_cpu_guest_seconds_total",
        "counter",
        "Seconds the CPUs spent in guests (VMs) for each mode.",
        labels,
    )
    times = Family("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.", labels)
    for cpu in metrics.cpus:
        number = str(cpu.get("cpu", 0))
        for family, mode, name in (
            *((times, mode, mode) for mode in _MODES),
            (guests, "user", "guest"),
            (guests, "nice", "guest_nice"),
        ):
            if name in cpu:
                family.add(cpu[name] / metrics.ticks_per_second, number, mode)
    yield guests
    yield times


def _memory(metrics: Metrics) -> Iterator[Family]:
    for name in (*_MEMORY, *_PAGES):
        shown = name.replace("(", "_").replace(")", "") + ("" if name in _PAGES else "_bytes")
        text = f"Memory information field {shown}."
        yield from _chosen(metrics.memory, ((name, f"node_memory_{shown}", "gauge", text),))


def _disks(metrics: Metrics) -> Iterator[Family]:
    disks = [disk for disk in metrics.disks if not _DISKS_EXCLUDED.fullmatch(disk.name)]
    for name, metric, factor, text in _DISK:
        kind = "counter" if metric.endswith("_total") else "gauge"
        family = Family(f"node_disk_{metric}", kind, text, ("device",))
        for disk in disks:
            if name in disk.counts:
                family.add(disk.counts[name] * factor, disk.name)
        yield family


def _filesystems(metrics: Metrics) -> Iterator[Family]:
    labels = ("device", "fstype", "mountpoint")
    text = "Whether an error occurred while getting statistics for the given device."
    errors = Family("node_filesystem_device_error", "gauge", text, labels)
    families = [
        (name, Family(f"node_filesystem_{metric}", "gauge", text, labels)) for name, metric, text in _FILESYSTEM
    ]
    for each in metrics.filesystems:
        if each.type in _TYPES_EXCLUDED or _MOUNTS_EXCLUDED.match(each.mountpoint):
            continue
        values = (each.source, each.type, each.mountpoint)
        errors.add(int(each.error), *values)
        for name, family in families:
            if not each.error:
                family.add(int(getattr(each, name)), *values)
    yield errors
    for _, family in families:
        yield family


def _interfaces(metrics: Metrics) -> Iterator[Family]:
    up = Family("node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise.", ("device",))
    mtu = Family("node_network_mtu_bytes", "gauge", "Network device property: mtu_bytes", ("device",))
    for interface in metrics.interfaces:
        up.add(int(interface.state == "up"), interface.name)
        if "mtu" in interface.counts:
            mtu.add(interface.counts["mtu"], interface.name)
    yield up
    yield mtu
    for name, metric in _INTERFACE:
        text = f"Network device statistic {metric}."
        family = Family(f"node_network_{metric}_total", "counter", text, ("device",))
        for interface in metrics.interfaces:
            if name in interface.counts:
                family.add(interface.counts[name], interface.name)
        yield family


def _chosen(values: Mapping[str, float], wanted: Iterable[tuple[str, str, str, str]]) -> Iterator[Family]:
    """Return a metric without labels for each of those wanted that has a value."""
    for name, metric, kind, text in wanted:
        if name in values:
            yield Family(metric, kind, text, samples={(): values[name]})


def _single(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, samples={(): value})


def _information(name: str, help: str, labels: Mapping[str, str]) -> Family:
    family = Family(name, "gauge", help, tuple(labels))
    family.add(1, *labels.values())
    return family


def _label(text: str) -> str:
    return escape(text[:LABEL_MAX])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
