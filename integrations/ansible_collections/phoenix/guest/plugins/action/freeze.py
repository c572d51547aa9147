# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The action of phoenix.guest.freeze."""

from __future__ import annotations

from ansible_collections.phoenix.guest.plugins.plugin_utils.guest_action import GuestAction


class ActionModule(GuestAction):
    """Freeze and thaw filesystems."""

    ARGUMENTS = {
        "state": {"type": "str", "choices": ["frozen", "thawed"], "required": True},
        "auto_thaw": {"type": "int", "default": -1},
        "mountpoints": {"type": "list", "elements": "str", "default": []},
        "generation": {"type": "str", "default": ""},
    }
    _requires_connection = True
    _supports_check_mode = True

    async def ask(self, guest, arguments):
        status = await guest.filesystems.status()
        frozen = arguments["state"] == "frozen"
        if status.frozen == frozen and not arguments["generation"]:
            return {"changed": False, "generation": status.generation}
        if self._task.check_mode:
            return {"changed": status.frozen != frozen}
        if not frozen:
            # With a generation, this fails unless the freeze held.
            await guest.filesystems.thaw(arguments["generation"])
            return {"changed": status.frozen, "generation": status.generation}
        freeze = await guest.filesystems.freeze(
            auto_thaw=arguments["auto_thaw"], mountpoints=arguments["mountpoints"]
        )
        return {
            "changed": True,
            "generation": freeze.generation,
            "filesystems": list(freeze.filesystems),
            "skipped": [{"mountpoint": each.mountpoint, "reason": each.reason} for each in freeze.skipped],
        }
