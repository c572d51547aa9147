"""What all tests share. In continuous integration (CI=true), a skipped test is a failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests import preflight
from tests.network import ip_batch, new_namespace
from tests.support import AgentProcess

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

IN_CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs pytest in the background has it ignore Ctrl-C, and so would what the tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "may_skip: may be skipped in continuous integration too, with a reason")


def pytest_report_header() -> str | None:
    missing = preflight.missing()
    return f"{preflight.advice(missing)}\nThe tests that need them are skipped." if missing else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = set(preflight.missing())
    for item in items:
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if absent := missing.intersection(_programs(item)):
            item.add_marker(pytest.mark.skip(reason=preflight.advice(sorted(absent))))


def _programs(item: pytest.Item) -> set[str]:
    """Return the programs that a test needs, its fixtures included."""
    marked = {program for marker in item.iter_markers("programs") for program in marker.args}
    fixtures = getattr(item, "fixturenames", ())
    return marked.union(*(preflight.FIXTURES.get(fixture, ()) for fixture in fixtures))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and item.get_closest_marker("may_skip") is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but it must run here: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent of this machine, for clients that leave nothing behind."""
    with AgentProcess(tmp_path_factory.mktemp("agent")) as process:
        yield process


@pytest.fixture
def endpoint(agent: AgentProcess) -> str:
    """Where that agent is, for the client library and phoenixctl."""
    return f"unix:{agent.socket_path}"


@pytest.fixture
def namespace() -> Iterator[None]:
    """Spend the test in a new network namespace, which holds a loopback interface and nothing else."""
    if os.geteuid():
        pytest.skip("needs root")
    with new_namespace():
        yield


@pytest.fixture
def ethernet(namespace: None) -> None:
    """Two Ethernet interfaces with a wire between them, `eth0` and `eth1`, up, and nothing on them.

    Without IPv6 addresses of their own, whose coming and going has its own time.
    """
    ip_batch(
        "link set lo up",
        "link add eth0 type veth peer name eth1",
        "link set eth0 addrgenmode none up",
        "link set eth1 addrgenmode none up",
    )
