"""The policies that are shipped as examples: what each leaves to the host, in both dialects."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from phoenix_ga.agent.config import Config, read_config_file
from phoenix_ga.agent.dialects.qga.commands import COMMANDS as GUEST_COMMANDS
from phoenix_ga.wire.commands import COMMANDS

PROFILES = sorted((Path(__file__).parent.parent.parent / "packaging" / "profiles").glob("*.conf"))
ALL = {command.name: command for command in (*COMMANDS, *GUEST_COMMANDS)}


def permitted(name: str) -> set[str]:
    (path,) = (path for path in PROFILES if path.stem == name)
    policy = Config(**read_config_file(str(path), required=True)).make_policy()
    return {command.name for command in ALL.values() if policy.permits(command)}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_pattern_of_a_profile_means_something(path: Path) -> None:
    options = read_config_file(str(path), required=True)
    for pattern in (*options.get("allow", ()), *options.get("block", ())):
        assert any(fnmatchcase(name, pattern) for name in ALL), pattern


def test_without_files_and_programs_nothing_gets_at_them_in_either_dialect() -> None:
    left = permitted("no-files-and-programs")
    assert {"guest-ping", "ping", "guest-set-time", "guest-shutdown", "fs-freeze", "sysinfo"} <= left
    reaching = ("file-open", "file-get", "file-put", "directory-get", "exec", "exec-attach", "connect", "listen")
    assert left.isdisjoint((*reaching, "guest-file-open", "guest-file-read", "guest-exec", "guest-exec-status"))
    # With a key or a password, the host could log in.
    assert not {name for name in left if "ssh" in name or "password" in name}


def test_probes_see_and_run_but_change_nothing_else() -> None:
    left = permitted("probes")
    assert {
        "guest-exec",
        "guest-exec-status",
        "guest-get-osinfo",
        "guest-sync",
        "guest-network-get-interfaces",
    } <= left
    assert left.isdisjoint(("exec", "guest-file-open", "guest-shutdown", "guest-set-time", "file-put", "connect"))


def test_a_backup_freezes_and_thaws_only() -> None:
    changing = {name for name in permitted("backup") if ALL[name].changes}
    assert changing == {name for name in ALL if name.startswith(("guest-fsfreeze-freeze", "fs-"))} - {
        "fs-freeze-plan"
    } | (changing & {"guest-fsfreeze-thaw"})
