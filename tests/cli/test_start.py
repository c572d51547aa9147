"""What phoenixctl loads before it does anything: users wait for that with every command."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.conftest import environment
from tests.support import AgentProcess

# All of our modules that `phoenixctl ping -c 1` may import. Think twice before you add one.
PING = {
    "phoenix_ga",
    "phoenix_ga.cli",
    "phoenix_ga.cli.__main__",
    "phoenix_ga.cli.arguments",
    "phoenix_ga.cli.completion",
    "phoenix_ga.cli.context",
    "phoenix_ga.cli.errors",
    "phoenix_ga.cli.output",
    "phoenix_ga.cli.program",
    "phoenix_ga.cli.selection",
    "phoenix_ga.cli.topics",
    "phoenix_ga.cli.verb",
    "phoenix_ga.cli.verbs",
    "phoenix_ga.cli.verbs.ping",
    "phoenix_ga.client",
    "phoenix_ga.client.endpoints",
    "phoenix_ga.client.errors",
    "phoenix_ga.client.handshake",
    "phoenix_ga.client.quick_ping",
    "phoenix_ga.wire",
    "phoenix_ga.wire.base64_text",
    "phoenix_ga.wire.frames",
    "phoenix_ga.wire.json_text",
    "phoenix_ga.wire.messages",
    "phoenix_ga.wire.objects",
    "phoenix_ga.wire.streams",
    "phoenix_ga.wire.units",
}
# What takes long to import.
SLOW = {"asyncio", "concurrent.futures", "http", "json", "logging", "rich", "socket", "ssl", "subprocess", "tarfile"}

_RUN = """
import sys
from phoenix_ga.cli.__main__ import main
sys.argv = ["phoenixctl", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def modules_of(*words: str) -> set[str]:
    """Return the modules that are imported when phoenixctl ends."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *words], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.split())


def test_a_single_ping_imports_only_what_it_needs(agent: AgentProcess) -> None:
    modules = modules_of("ping", "-c", "1", f"unix:{agent.socket_path}")
    assert {module for module in modules if module.startswith("phoenix_ga")} <= PING
    assert not modules & SLOW


def test_a_verb_does_not_load_the_others(agent: AgentProcess) -> None:
    modules = modules_of("stat", f"unix:{agent.socket_path}:/")
    assert {module for module in modules if module.startswith("phoenix_ga.cli.verbs.")} == {
        "phoenix_ga.cli.verbs.stat"
    }


def test_the_help_loads_no_client() -> None:
    assert not {"asyncio", "phoenix_ga.client.guest"} & modules_of("ping", "--help")
