"""The content of the guest image: packages, configuration files, and units that must not start."""

from __future__ import annotations

HOSTNAME = "phoenix-guest"
ARCHITECTURE = "amd64"
ROOT_SIZE = "2G"

#: The cloud kernel is a third of the size of the usual one and has all drivers for a QEMU guest.
PACKAGES = (
    "linux-image-cloud-amd64",
    "busybox-static",
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "util-linux",
    "python3",
    "qemu-guest-agent",
    "iproute2",
    "procps",
    "strace",
    "socat",
    "openssh-server",
    "rsync",
    "git",
    "apt",
    "lvm2",
    "dmsetup",
    "fdisk",
    "cryptsetup-bin",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
)

#: Files that dpkg leaves out.
EXCLUDED_PATHS = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
)

#: Units that only cost boot time in a guest that lives for minutes. Tests that need sshd start it.
MASKED_UNITS = (
    "ssh.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "xfs_scrub_all.timer",
    "systemd-tmpfiles-clean.timer",
    "getty.target",
    "getty-static.service",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "lvm2-monitor.service",
    "lvm2-lvmpolld.socket",
    "dm-event.socket",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)

#: Modules that the initramfs loads, after their dependencies, to mount the root file system.
INITRAMFS_MODULES = ("virtio_pci", "virtio_blk", "ext4")

#: Path in the guest -> content. The machine ID is fixed so that systemd does not run first-boot services.
CONFIGURATION = {
    "/etc/hostname": f"{HOSTNAME}\n",
    "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n",
    "/etc/fstab": "",
    "/etc/machine-id": "0f2a6c1d8b3e4f5a9c7d1e2b3a4c5d6e\n",
    "/etc/resolv.conf": "",
    # In memory, so that a frozen root file system does not block the journal.
    "/etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n",
    "/etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
}
