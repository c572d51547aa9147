"""What the QEMU Guest Agent's commands return, for the generated client. Source: QEMU, qga/qapi-schema.json.

A member with a question mark may be absent. Types that are not listed here are `Any` in the client.
"""

from __future__ import annotations

from typing import Final

TYPES: Final = """
GuestAgentCommandInfo: name str, enabled bool, success-response bool
GuestAgentInfo: version str, supported_commands list[GuestAgentCommandInfo]
GuestFileRead: count int, buf-b64 str, eof bool
GuestFileWrite: count int, eof bool
GuestFileSeek: position int, eof bool
GuestFilesystemTrimResult: path str, trimmed? int, minimum? int, error? str
GuestFilesystemTrimResponse: paths list[GuestFilesystemTrimResult]
GuestIpAddress: ip-address str, ip-address-type str, prefix int
GuestNetworkInterfaceStat: rx-bytes int, rx-packets int, rx-errs int, rx-dropped int,
    tx-bytes int, tx-packets int, tx-errs int, tx-dropped int
GuestNetworkInterface: name str, hardware-address? str, ip-addresses? list[GuestIpAddress],
    statistics? GuestNetworkInterfaceStat
GuestNetworkRoute: iface str, destination str, metric int, version int, gateway? str, mask? str, irtt? int,
    flags? int, refcnt? int, use? int, window? int, mtu? int, desprefixlen? str,
    source? str, srcprefixlen? str, nexthop? str
GuestLogicalProcessor: logical-id int, online bool, can-offline? bool
GuestPCIAddress: domain int, bus int, slot int, function int
GuestDiskAddress: pci-controller GuestPCIAddress, bus-type str, bus int, target int, unit int, serial? str, dev? str
GuestDiskSmart: type str
GuestDiskInfo: name str, partition bool, dependencies? list[str], address? GuestDiskAddress, alias? str,
    smart? GuestDiskSmart
GuestFilesystemInfo: name str, mountpoint str, type str, disk list[GuestDiskAddress], used-bytes? int,
    total-bytes? int, total-bytes-privileged? int
GuestDiskStats: read-sectors? int, read-ios? int, read-merges? int, write-sectors? int, write-ios? int,
    write-merges? int, discard-sectors? int, discard-ios? int, discard-merges? int, flush-ios? int, read-ticks? int,
    write-ticks? int, discard-ticks? int, flush-ticks? int, ios-pgr? int, total-ticks? int, weight-ticks? int
GuestDiskStatsInfo: name str, major int, minor int, stats GuestDiskStats
GuestMemoryBlock: phys-index int, online bool, can-offline? bool
GuestMemoryBlockResponse: phys-index int, response str, error-code? int
GuestMemoryBlockInfo: size int
GuestCpuStats: type str, cpu int, user int, nice int, system int, idle int, iowait? int, irq? int, softirq? int,
    steal? int, guest? int, guestnice? int
GuestExec: pid int
GuestExecStatus: exited bool, exitcode? int, signal? int, out-data? str, err-data? str, out-truncated? bool,
    err-truncated? bool
GuestHostName: host-name str
GuestUser: user str, login-time float, domain? str
GuestTimezone: offset int, zone? str
GuestOSInfo: kernel-release? str, kernel-version? str, machine? str, id? str, name? str, pretty-name? str,
    version? str, version-id? str, variant? str, variant-id? str
GuestAuthorizedKeys: keys list[str]
GuestLoadAverage: load1m float, load5m float, load15m float
"""

# What a command returns; "None" if it returns an empty object.
RESULTS: Final = {
    "guest-sync-delimited": "int",
    "guest-sync": "int",
    "guest-ping": "None",
    "guest-info": "GuestAgentInfo",
    "guest-file-open": "int",
    "guest-file-close": "None",
    "guest-file-read": "GuestFileRead",
    "guest-file-write": "GuestFileWrite",
    "guest-file-seek": "GuestFileSeek",
    "guest-file-flush": "None",
    "guest-get-vcpus": "list[GuestLogicalProcessor]",
    "guest-set-vcpus": "int",
    "guest-get-memory-blocks": "list[GuestMemoryBlock]",
    "guest-set-memory-blocks": "list[GuestMemoryBlockResponse]",
    "guest-get-memory-block-info": "GuestMemoryBlockInfo",
    "guest-get-cpustats": "list[GuestCpuStats]",
    "guest-network-get-interfaces": "list[GuestNetworkInterface]",
    "guest-network-get-route": "list[GuestNetworkRoute]",
    "guest-exec-status": "GuestExecStatus",
    "guest-exec": "GuestExec",
    "guest-fsfreeze-status": "str",
    "guest-fsfreeze-freeze": "int",
    "guest-fsfreeze-freeze-list": "int",
    "guest-fsfreeze-thaw": "int",
    "guest-get-fsinfo": "list[GuestFilesystemInfo]",
    "guest-get-disks": "list[GuestDiskInfo]",
    "guest-get-diskstats": "list[GuestDiskStatsInfo]",
    "guest-fstrim": "GuestFilesystemTrimResponse",
    "guest-get-osinfo": "GuestOSInfo",
    "guest-get-host-name": "GuestHostName",
    "guest-get-timezone": "GuestTimezone",
    "guest-get-time": "int",
    "guest-set-time": "None",
    "guest-get-load": "GuestLoadAverage",
    "guest-shutdown": "None",
    "guest-suspend-disk": "None",
    "guest-suspend-ram": "None",
    "guest-suspend-hybrid": "None",
    "guest-get-users": "list[GuestUser]",
    "guest-set-user-password": "None",
    "guest-ssh-get-authorized-keys": "GuestAuthorizedKeys",
    "guest-ssh-add-authorized-keys": "None",
    "guest-ssh-remove-authorized-keys": "None",
}
# The type of the elements of an argument that is a list of objects.
ARGUMENTS: Final = {"vcpus": "GuestLogicalProcessor", "mem-blks": "GuestMemoryBlock"}
