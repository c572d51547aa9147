# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The action of phoenix.guest.info."""

from __future__ import annotations

from ansible_collections.phoenix.guest.plugins.plugin_utils.guest_action import GuestAction


class ActionModule(GuestAction):
    """Describe a guest and its agent."""

    _requires_connection = True

    async def ask(self, guest, arguments):
        metrics = await guest.metrics()
        load = metrics.load_average
        return {
            "changed": False,
            "guest": {
                "version": await guest.ping(),
                "frozen": metrics.frozen,
                "hostname": metrics.kernel.node,
                "kernel": metrics.kernel.release,
                "machine": metrics.kernel.machine,
                "os": metrics.os,
                "boot_time": metrics.boot_time,
                "load": [load.one_minute, load.five_minutes, load.fifteen_minutes],
                "cpus": len(metrics.cpus),
                "memory": {
                    "total": metrics.memory.get("MemTotal", 0),
                    "available": metrics.memory.get("MemAvailable", 0),
                },
                "filesystems": [
                    {"mountpoint": each.mountpoint, "type": each.type, "size": each.size, "available": each.available}
                    for each in metrics.filesystems
                ],
            },
        }
