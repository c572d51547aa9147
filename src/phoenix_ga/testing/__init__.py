"""For the tests of programs that use guests: a mock agent, and real guests. See docs/testing.md."""

from phoenix_ga.client import HANG_UP, SILENCE, CommandError
from phoenix_ga.testing.boot import BootedGuest, BootError, boot_guest
from phoenix_ga.testing.mock_agent import MockAgent

__all__ = ["HANG_UP", "SILENCE", "BootError", "BootedGuest", "CommandError", "MockAgent", "boot_guest"]
