# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The action of phoenix.guest.wait."""

from __future__ import annotations

from ansible_collections.phoenix.guest.plugins.plugin_utils.phoenixctl_action import PhoenixctlAction


class ActionModule(PhoenixctlAction):
    """Wait for conditions in a guest."""

    ARGUMENTS = {
        "conditions": {"type": "list", "elements": "str", "default": ["agent"]},
        "any": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 300},
    }

    def act(self, guest, arguments):
        if self._task.check_mode:
            # What would have begun it was not done.
            return {"changed": False, "skipped": True, "msg": "check mode does not wait"}
        options = ["--any"] if arguments["any"] else []
        found = self.phoenixctl(
            "wait", "--timeout", str(arguments["timeout"]), *options, "--", guest, *arguments["conditions"]
        )
        return {"changed": False, "found": {each["condition"]: each["found"] for each in found}}
