"""Fixtures of pytest; in conftest.py: `pytest_plugins = ["phoenix_ga.testing.plugin"]`."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from typing import Literal

import pytest

from phoenix_ga.testing.boot import BOOT_TIMEOUT, BootedGuest, boot_guest
from phoenix_ga.testing.mock_agent import MockAgent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fixtures."""
    group = parser.getgroup("phoenix", "guests of QEMU")
    group.addoption("--phoenix-image", metavar="FILE", help="Image from which phoenix_guest boots.")
    parser.addini("phoenix_image", "image from which phoenix_guest boots")
    parser.addini("phoenix_qemu_arguments", "more arguments of QEMU", default="")
    parser.addini("phoenix_boot_timeout", "time limit of a boot in seconds", default=str(BOOT_TIMEOUT))
    parser.addini("phoenix_guest_scope", "scope of phoenix_guest: function, module or session", default="module")


def _scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module", "session"]:
    scope: Literal["function", "module", "session"] = config.getini("phoenix_guest_scope")
    return scope


@pytest.fixture
def phoenix_agent() -> Iterator[MockAgent]:
    """An agent that answers from a script, on an endpoint of its own."""
    # The path of a Unix socket must be short; that of tmp_path may be long.
    with tempfile.TemporaryDirectory(prefix="phoenix-") as directory, MockAgent(directory) as agent:
        yield agent


@pytest.fixture(scope=_scope)
def phoenix_guest(request: pytest.FixtureRequest) -> Iterator[BootedGuest]:
    """A guest that was booted from the image that --phoenix-image or phoenix_image names; skipped without one."""
    config = request.config
    image = config.getoption("--phoenix-image") or config.getini("phoenix_image")
    if not image:
        pytest.skip("no image of a guest is given: use --phoenix-image FILE or set phoenix_image")
    path = os.path.join(config.rootpath, image)
    arguments = shlex.split(config.getini("phoenix_qemu_arguments"))
    with boot_guest(path, arguments=arguments, timeout=float(config.getini("phoenix_boot_timeout"))) as guest:
        yield guest
