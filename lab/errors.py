"""The lab's errors. Each message is meant for people and says what to do next."""

from __future__ import annotations


class LabError(Exception):
    """Something that the lab needs is missing or has failed."""


class GuestError(LabError):
    """A guest did not boot, has ended, or did not answer in time."""


class CommandError(LabError):
    """A command in the guest ended with a status other than 0."""

    def __init__(self, command: str, status: int, output: bytes) -> None:
        self.command = command
        self.status = status
        self.output = output
        text = output[-4000:].decode("utf-8", "replace").rstrip()
        meaning = " (timeout)" if status in (124, 137) else ""
        super().__init__(f"{command!r} in the guest ended with status {status}{meaning}:\n{text}")
