# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""Actions that run phoenixctl on the controller."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase
from ansible_collections.phoenix.guest.plugins.plugin_utils.library import require_library


class ActionProblem(Exception):
    """The task has failed, as a result that `failed_when` can look at."""


class PhoenixctlAction(ActionBase):
    """Base class of actions. ARGUMENTS: the argument specification; RULES: what is checked besides."""

    ARGUMENTS = {}
    RULES = {}
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        """Run the action."""
        super().run(tmp, task_vars)
        require_library()
        _result, arguments = self.validate_argument_spec(self.ARGUMENTS, **self.RULES)
        if self._connection.ansible_name != "phoenix.guest.agent":
            raise AnsibleActionFail("this needs a guest with the connection phoenix.guest.agent")
        try:
            return self.act(self._connection.get_option("remote_addr"), arguments)
        except ActionProblem as problem:
            return {"failed": True, "msg": str(problem)}

    def act(self, guest, arguments):
        """Return the result of the task for a guest. Raises ActionProblem."""
        raise NotImplementedError

    def phoenixctl(self, *words):
        """Run phoenixctl, and return the values that it prints. Raises ActionProblem with what it says."""
        command = [sys.executable, "-m", "phoenix_ga.cli", "--json"]
        if self._connection.get_option("direct"):
            command.append("--direct")
        process = subprocess.Popen(
            [*command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            output, errors = process.communicate()
        except BaseException:
            # It undoes what it has begun.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if process.returncode:
            text = "; ".join(filter(None, map(_told, to_text(errors).splitlines())))
            raise ActionProblem(text or f"phoenixctl {words[0]} failed with status {process.returncode}")
        return [json.loads(line) for line in to_text(output).splitlines()]


def _told(line):
    """Return what a line of phoenixctl's standard error says; errors are JSON."""
    try:
        return json.loads(line)["error"]["text"]
    except (ValueError, TypeError, KeyError):
        return line
