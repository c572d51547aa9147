"""Commands about the agent itself."""

from __future__ import annotations

from phoenix_ga import __version__
from phoenix_ga.wire.commands import BY_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def ping(context: Context) -> str:
    return __version__


def sync(context: Context, id: int) -> int:
    return id


def get_session(context: Context, number: int) -> int:
    # The conversation adds the number, which is that of the client's session.
    return number


def get_commands(context: Context) -> list[str]:
    return sorted(name for name, command in BY_NAME.items() if context.policy.permits(command))


def get_digests(context: Context) -> dict[str, int]:
    return context.part(_measure_digests)


def _measure_digests(context: Context) -> dict[str, int]:
    from phoenix_ga.agent.operations.digest import measure_digests

    return measure_digests()


def self_test(context: Context) -> list[dict[str, str]]:
    return context.self_test()


def agent_shutdown(context: Context) -> bool:
    context.stop()
    return True
