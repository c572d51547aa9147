"""The real programs of Ansible, with the collection of this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import SOURCE

COLLECTIONS = SOURCE.parent / "integrations"


class Controller:
    """A directory with an inventory of guests. guests: their endpoints by name."""

    def __init__(self, directory: Path, guests: Mapping[str, str]) -> None:
        self.directory = directory
        config = directory / "phoenix" / "config.toml"
        config.parent.mkdir()
        lines = [f'{name} = "{endpoint}"' for name, endpoint in guests.items()]
        config.write_text("\n".join(["sources = []", "[guests]", *lines, ""]))
        (directory / "phoenix.yml").write_text("plugin: phoenix.guest.guests\n")
        (directory / "ansible.cfg").write_text("[defaults]\ninterpreter_python = auto_silent\nnocows = true\n")

    def run(self, program: str, *words: str, status: int = 0) -> str:
        """Run a program of Ansible; return its output. Fail if its exit status is another one."""
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
            "XDG_CONFIG_HOME": str(self.directory),
            "PHOENIX_HUB_DIRECTORY": str(self.directory / "no-hub"),
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }
        path = Path(sys.executable).parent / program
        result = subprocess.run(
            [str(path), *words],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout + result.stderr


def recap(output: str) -> dict[str, dict[str, int]]:
    """Return the counts of each host at the end of a play."""
    found = {}
    for line in output.partition("PLAY RECAP")[2].splitlines():
        if match := re.match(r"(\S+)\s+: (ok=.*)", line):
            found[match[1]] = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", match[2])}
    return found
