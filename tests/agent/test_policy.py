"""The policy: one function decides, and a frozen guest can always be thawed."""

from __future__ import annotations

from errno import EBUSY, EPERM
from pathlib import Path

import pytest

from phoenix_ga.agent.protocol.policy import Policy
from phoenix_ga.wire.commands import BY_NAME, COMMANDS
from tests.ends.client import RefusedError
from tests.support import AgentProcess

READ = {"path": "/x", "mode": "r", "perm": 420, "force": False}
WRITE = {**READ, "mode": "w"}


def verdict(policy: Policy, name: str, bound: dict[str, object] | None = None, frozen: bool = False) -> int:
    """Return the errno with which the call is refused, or 0."""
    try:
        policy.check(BY_NAME[name], bound or {}, frozen)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize(
    ("policy", "name", "bound", "code"),
    [
        (Policy(), "file-chmod", {}, 0),
        (Policy(allow=("ping",)), "ping", {}, 0),
        (Policy(allow=("ping",)), "sysinfo", {}, EPERM),
        (Policy(allow=("file-*",)), "file-open", WRITE, 0),
        (Policy(allow=("file-*",)), "directory-list", {}, EPERM),
        (Policy(block=("file-*",)), "file-open", READ, EPERM),
        (Policy(block=("file-*",)), "directory-list", {}, 0),
        (Policy(allow=("*",), block=("ping",)), "ping", {}, EPERM),
        (Policy(allow=("ping",), block=("*",)), "ping", {}, EPERM),
        (Policy(block=("linux-ipaddr-add",)), "ipaddr-add", {}, EPERM),
        (Policy(block=("ipaddr-add",)), "linux-ipaddr-add", {}, EPERM),
        (Policy(read_only=True), "file-open", READ, 0),
        (Policy(read_only=True), "file-open", WRITE, EPERM),
        (Policy(read_only=True), "file-chmod", {}, EPERM),
        (Policy(read_only=True), "sysinfo", {}, 0),
        (Policy(read_only=True), "fs-freeze", {}, EPERM),
        # No client could tell its own answers from another's without it.
        (Policy(allow=("ping",), block=("*",)), "sync", {"id": 1}, 0),
        (Policy(allow=("ping",), block=("*",)), "get-session", {}, 0),
    ],
)
def test_lists_and_read_only(policy: Policy, name: str, bound: dict[str, object], code: int) -> None:
    assert verdict(policy, name, bound) == code


def test_while_frozen_only_what_touches_no_filesystem_is_served() -> None:
    served = {command.name for command in COMMANDS if verdict(Policy(), command.name, WRITE, frozen=True) == 0}
    assert served == {
        "ping",
        "sync",
        "get-session",
        "get-commands",
        "get-digests",
        "agent-shutdown",
        "get-freeze-status",
        "fs-unfreeze",
        "metrics",
    }
    assert verdict(Policy(), "fs-freeze", frozen=True) == EBUSY


@pytest.mark.parametrize("policy", [Policy(read_only=True), Policy(block=("*",)), Policy(allow=("ping",))])
def test_no_policy_keeps_a_frozen_guest_frozen(policy: Policy) -> None:
    assert verdict(policy, "fs-unfreeze", frozen=True) == 0
    assert verdict(policy, "fs-unfreeze") == EPERM


def test_every_command_that_changes_the_guest_says_so() -> None:
    unchanging = {command.name for command in COMMANDS if command.changes is False}
    assert unchanging == {
        "fs-freeze-plan",
        "ping",
        "exec-list",
        "sync",
        "get-session",
        "get-commands",
        "get-digests",
        "directory-entries",
        "self-test",
        "sysinfo",
        "metrics",
        "file-read",
        # The handle was opened to write, which did ask the policy.
        "file-write",
        "file-close",
        "get-file-md5sum",
        "get-file-sha256sum",
        "file-stat",
        "directory-list",
        "file-glob",
        "file-get",
        "directory-get",
        # The process was started by exec, which did ask.
        "exec-resize",
        "get-freeze-status",
        "get-netifaces",
        "get-route-list",
        "events",
        "wait-for",
        "directory-find",
        "directory-usage",
        "file-tail",
        "process-list",
        "socket-list",
    }


def test_a_read_only_agent_refuses_writes_with_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    with AgentProcess(tmp_path, "--read-only") as agent, agent.connect() as client:
        with pytest.raises(RefusedError, match="file-open would change the guest, whose policy is read-only"):
            client.write_file(tmp_path / "file", b"new")
        with pytest.raises(RefusedError, match="file-chmod is not allowed by the policy"):
            client.call("file-chmod", path=str(tmp_path / "file"), perm=0)
        assert client.read_file(tmp_path / "file") == b"as it was"
        assert "file-chmod" not in client.call("get-commands")
        assert "file-open" in client.call("get-commands")


def test_a_blocked_command_is_not_listed_and_not_run(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--block", "file-*,directory-*") as agent, agent.connect() as client:
        assert not [name for name in client.call("get-commands") if name.startswith(("file-", "directory-"))]
        with pytest.raises(RefusedError, match="command file-open is not allowed by the policy of this guest"):
            client.call("file-open", path="/etc/hostname")


def test_each_change_leaves_one_line_of_audit(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        client.call("directory-create", path=str(tmp_path / "a\nb\x1b[31m"))
        with pytest.raises(RefusedError):
            client.call("file-chmod", path="/no/such", perm=420)
        client.call("file-stat", path="/")
        lines = [line.partition(" ")[2] for line in agent.log().splitlines() if "audit:" in line]
    assert lines == [
        f'audit: unix:{tmp_path}/agent.sock: directory-create path="{tmp_path}/a\\nb\\u001b[31m" perm=493 '
        "parents=true done",
        f'audit: unix:{tmp_path}/agent.sock: file-chmod path="/no/such" perm=420 '
        "failed: /no/such: No such file or directory",
    ]


def test_a_refused_change_is_audited_too(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--read-only") as agent, agent.connect() as client:
        with pytest.raises(RefusedError):
            client.call("file-chmod", path="/etc/motd", perm=420)
        (line,) = [line for line in agent.log().splitlines() if "audit:" in line]
    assert line.endswith("failed: command file-chmod is not allowed by the policy of this guest")
