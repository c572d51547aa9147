# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The action of phoenix.guest.snapshot."""

from __future__ import annotations

import json
import os

from ansible_collections.phoenix.guest.plugins.plugin_utils.phoenixctl_action import ActionProblem, PhoenixctlAction


class ActionModule(PhoenixctlAction):
    """Snapshot the disks of guests."""

    ARGUMENTS = {
        "kind": {"type": "str", "choices": ["external", "internal", "backup"], "required": True},
        "directory": {"type": "path"},
        "name": {"type": "str", "default": ""},
        "guests": {"type": "list", "elements": "str", "default": []},
        "disks": {"type": "list", "elements": "str", "default": []},
        "bitmap": {"type": "str", "default": ""},
        "qmp": {"type": "path", "default": ""},
        "freeze": {"type": "bool", "default": True},
        "auto_thaw": {"type": "int"},
    }
    RULES = {"required_if": [("kind", "external", ("directory",)), ("kind", "backup", ("directory",))]}

    def act(self, guest, arguments):
        guests = arguments["guests"] or [guest]
        made = _made(arguments, guests)
        if made is not None:
            return {"changed": False, "snapshot": made}
        if self._task.check_mode:
            return {"changed": True}
        words = [f"--{arguments['kind']}"]
        if arguments["kind"] != "internal":
            words.append(arguments["directory"])
        for option in ("name", "bitmap", "qmp", "auto_thaw"):
            if arguments[option] not in ("", None):
                words += [f"--{option.replace('_', '-')}", str(arguments[option])]
        for disk in arguments["disks"]:
            words += ["--disk", disk]
        if not arguments["freeze"]:
            words.append("--no-freeze")
        (snapshot,) = self.phoenixctl("snapshot", *words, "--", *guests)
        return {"changed": True, "snapshot": snapshot}


def _made(arguments, guests):
    """Return the manifest of the snapshot if it was made by an earlier run."""
    if not arguments["name"] or not arguments["directory"]:
        return None
    path = os.path.join(arguments["directory"], f"{arguments['name']}.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ActionProblem(f"{path}: {error}") from None
    if manifest.get("verdict") == "unfinished":
        raise ActionProblem(f"{path}: the snapshot was interrupted; look which files are in use, then remove it")
    if manifest.get("kind") != arguments["kind"] or set(manifest.get("guests", ())) != set(guests):
        raise ActionProblem(f"{path} is another snapshot; choose another name")
    return manifest
