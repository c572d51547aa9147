# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The action of phoenix.guest.deploy."""

from __future__ import annotations

import asyncio
import re
import zipfile

from ansible_collections.phoenix.guest.plugins.plugin_utils.library import __version__, client, discovery, probe
from ansible_collections.phoenix.guest.plugins.plugin_utils.phoenixctl_action import ActionProblem, PhoenixctlAction

_VERSION = re.compile(r"""^__version__ = ["']([^"']+)["']""", re.MULTILINE)
# In the archive, beside the byte code.
_SOURCE = "source/phoenix_ga/__init__.py"


class ActionModule(PhoenixctlAction):
    """Install the agent in a guest that has qemu-ga."""

    ARGUMENTS = {
        "agent": {"type": "path"},
        "profile": {"type": "str", "choices": ["backup", "probes", "read-only"]},
        "force": {"type": "bool", "default": False},
    }

    def act(self, guest, arguments):
        version = _version(arguments["agent"])
        before = _probe(guest)
        if before.dialect == probe.PHOENIX and before.version == version and not arguments["force"]:
            return {"changed": False, "version": version}
        result = {"changed": True, "version": version}
        if before.dialect == probe.PHOENIX and before.version:
            result["previous_version"] = before.version
        if self._task.check_mode:
            return result
        options = []
        for option in ("agent", "profile"):
            if arguments[option]:
                options += [f"--{option}", arguments[option]]
        self.phoenixctl("deploy", *options, "--", guest)
        return result


def _version(path):
    """Return the version of the agent that is to be installed."""
    if not path:
        return __version__
    try:
        with zipfile.ZipFile(path) as archive:
            found = _VERSION.search(archive.read(_SOURCE).decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ActionProblem(f"{path}: {error}") from None
    if found is None:
        raise ActionProblem(f"{path} is not a phoenix-ga.pyz")
    return found[1]


def _probe(guest):
    try:
        known = discovery.select_guests(guest)
    except client.PhoenixError as error:
        raise ActionProblem(str(error)) from None
    if len(known) != 1:
        raise ActionProblem(f"{guest} is not the name of one guest")
    return asyncio.run(probe.probe(known[0]))
