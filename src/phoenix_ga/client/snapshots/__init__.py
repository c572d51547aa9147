"""Snapshots of the disks of guests: by QEMU's monitor, or by libvirt, which must know of its disks."""
