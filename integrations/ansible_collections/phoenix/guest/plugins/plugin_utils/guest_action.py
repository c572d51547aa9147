# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""Actions that ask the agent itself, on the controller."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class GuestAction(ActionBase):
    """Base class of actions. ARGUMENTS: the argument specification."""

    ARGUMENTS = {}

    def run(self, tmp=None, task_vars=None):
        """Run the action."""
        super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(self.ARGUMENTS)
        if not hasattr(self._connection, "with_guest"):
            raise AnsibleActionFail("this needs a guest with the connection phoenix.guest.agent")

        async def work(guest):
            return await self.ask(guest, arguments)

        return self._connection.with_guest(work)

    async def ask(self, guest, arguments):
        """Ask a guest, and return the result of the task."""
        raise NotImplementedError
