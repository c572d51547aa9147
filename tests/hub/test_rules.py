"""Who may do what: the rules alone, and with users of this machine."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.hub.catalogue import command_names, find_command
from phoenix_ga.hub.config import ConfigError, read_config
from phoenix_ga.hub.rules import Rules, read_rules
from phoenix_ga.hub.users import User
from tests.hub.conftest import HubProcess, acting_as
from tests.support import AgentProcess

ROOT = User(0, "root", frozenset({"root"}))
MEMBER = User(1001, "ann", frozenset({"ann", "phoenix"}))
STRANGER = User(1002, "bob", frozenset({"bob"}))
OPERATOR = User(1003, "cleo", frozenset({"ops"}))


def rules(*tables: dict[str, object]) -> Rules:
    return read_rules(list(tables))


def may(known: Rules, user: User, guest: str, command: str, **arguments: object) -> bool:
    return known.decide(user, guest, command, arguments).allowed


def test_by_default_root_and_the_group_may_everything_and_others_nothing() -> None:
    for command in (*command_names(), "a-command-of-tomorrow"):
        assert may(rules(), ROOT, "web1", command)
        assert may(rules(), MEMBER, "web1", command)
        assert not may(rules(), STRANGER, "web1", command)


ROLES = {
    "viewer": {"ping", "sysinfo", "file-stat", "directory-list", "get-route-list", "guest-get-osinfo", "guest-info"},
    "backup": {"ping", "fs-freeze", "fs-unfreeze", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"},
    "operator": {"ping", "fs-freeze", "ipaddr-add", "guest-shutdown", "guest-set-time", "agent-shutdown"},
    "admin": {
        "ping",
        "exec",
        "file-get",
        "guest-exec",
        "guest-set-user-password",
        "connect",
        "a-command-of-tomorrow",
    },
}
# What each role must not have, whatever it is called.
NEVER = {
    "viewer": {"fs-freeze", "guest-fsfreeze-freeze", "ipaddr-add", "guest-shutdown", "agent-shutdown"},
    "backup": {"ipaddr-add", "guest-shutdown", "agent-shutdown"},
    "operator": set(),
    "admin": set(),
}
FULL = {
    *("exec", "exec-attach", "exec-signal", "file-get", "file-put", "directory-get", "directory-put", "file-open"),
    *("file-read", "file-write", "file-chown", "file-remove", "listen", "connect", "guest-exec", "guest-file-open"),
    *("guest-exec-status", "guest-file-read", "guest-file-write", "guest-set-user-password"),
    *("guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys", "a-command-of-tomorrow"),
}


@pytest.mark.parametrize("role", ROLES)
def test_roles_follow_from_the_declarations(role: str) -> None:
    known = rules({"groups": ["ops"], "allow": [role]})
    for command in ROLES[role]:
        assert may(known, OPERATOR, "web1", command), command
    for command in NEVER[role] | (FULL if role != "admin" else set()):
        assert not may(known, OPERATOR, "web1", command), command


def test_every_command_that_changes_files_or_runs_programs_needs_full_access() -> None:
    for name in command_names():
        command = find_command(name)
        assert command is not None
        if name.startswith(("exec", "file-", "directory-", "guest-exec", "guest-file")) and command.changes:
            assert command.full_access, name


def test_the_first_rule_that_names_the_command_decides() -> None:
    known = rules(
        {"name": "hands off", "users": ["*"], "guests": ["db*"], "deny": ["fs-*"]},
        {"groups": ["ops"], "guests": ["web*", "db1"], "allow": ["backup"], "deny": ["sysinfo"]},
        {"users": ["1003"], "allow": ["sysinfo"]},
    )
    assert may(known, OPERATOR, "web1", "fs-freeze")
    assert not may(known, OPERATOR, "db1", "fs-freeze")
    assert known.decide(OPERATOR, "db1", "fs-freeze", {}).reason == "rule 1 (hands off): deny fs-*"
    assert not may(known, ROOT, "db1", "fs-freeze")
    assert not may(known, OPERATOR, "web1", "sysinfo")
    assert may(known, OPERATOR, "mail1", "sysinfo")
    assert not may(known, STRANGER, "web1", "ping")


def test_a_change_is_told_by_the_arguments() -> None:
    known = rules({"users": ["cleo"], "allow": ["viewer", "file-open"]})
    assert may(known, OPERATOR, "web1", "file-open", mode="w")
    known = rules({"users": ["cleo"], "allow": ["viewer"]})
    assert not may(known, OPERATOR, "web1", "file-open", mode="r")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("linger = -1", "linger must be"),
        ("lingr = 1", "unknown key 'lingr'"),
        ("[[rule]]\nallow = ['viewer']", "names no users"),
        ("[[rule]]\nusers = ['a']\nallow = ['viewr']", "'viewr' is neither a role"),
        ("[[rule]]\nusers = 'a'", "users must be a list"),
        ("[[rule]]\nusers = ['a']\nalow = []", "unknown key 'alow'"),
        ("rule = 7", "rules are written as"),
        ("[[rule", "hub.toml"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"hub\.toml") as error:
        read_config(path, tmp_path)
    assert words in str(error.value)


# With users of this machine

_CONFIG = """
[[rule]]
name = "lookers"
users = ["nobody"]
guests = ["web1"]
allow = ["viewer"]

[[rule]]
users = ["daemon"]
allow = ["backup"]
deny = ["sysinfo"]

[[rule]]
groups = ["games"]
guests = ["db1"]
allow = ["admin"]
"""


def ask(path: Path, user: str, request: str) -> dict[str, object]:
    """Send a line as a user, and return the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        with acting_as(user):
            connection.connect(str(path))
        connection.sendall(f"{request}\n".encode())
        value: dict[str, object] = json.loads(connection.makefile("rb").readline())
    return value


@pytest.fixture(scope="module")
def public() -> Iterator[HubProcess]:
    """A hub in a directory that every user can enter."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/run")))
        directory.chmod(0o755)
        agent = stack.enter_context(AgentProcess(directory))
        yield stack.enter_context(HubProcess(directory, {"web1": f"unix:{agent.socket_path}"}, _CONFIG))


def text_of(answer: dict[str, object]) -> str:
    error = answer.get("error")
    if not isinstance(error, dict):
        return ""
    return str(error["desc"]) if "desc" in error else base64.b64decode(error["bufb64"]).decode()


_REQUESTS = {
    "ping": '{"execute": "ping"}',
    "sysinfo": '{"execute": "sysinfo"}',
    "file-stat": '{"execute": "file-stat", "arguments": {"path": "/etc"}}',
    "fs-unfreeze": '{"execute": "fs-unfreeze"}',
    "exec": '{"execute": "exec", "arguments": {"argv": ["true"]}}',
    "an object within a line": '{"execute": "ping" }{"execute": "exec", "arguments": {"argv": ["true"]}}',
    "an escaped name": '{"execute": "\\u0065xec", "arguments": {"argv": ["true"]}}',
    "file-get": '{"execute": "file-get", "arguments": {"path": "/etc/passwd"}}',
    "ipaddr-add": '{"execute": "ipaddr-add", "arguments": {"interface": "none", "address": "192.0.2.1/24"}}',
    "connect": '{"execute": "connect", "arguments": {"port": 1}}',
    "guest-ping": '{"execute": "guest-ping"}',
    "guest-exec": '{"execute": "guest-exec", "arguments": {"path": "/bin/true"}}',
    "guest-file-open": '{"execute": "guest-file-open", "arguments": {"path": "/etc/passwd"}}',
    "guest-fsfreeze-thaw": '{"execute": "guest-fsfreeze-thaw"}',
    "guest-set-user-password": '{"execute": "guest-set-user-password", "arguments": '
    '{"username": "nobody-here", "password": "eA==", "crypted": false}}',
}
_VIEWER = {"ping", "sysinfo", "file-stat", "guest-ping", "an object within a line"}
_ALLOWED = {
    "root": set(_REQUESTS),
    "nobody": _VIEWER,
    "daemon": _VIEWER - {"sysinfo"} | {"fs-unfreeze", "guest-fsfreeze-thaw"},
    "games": set(),
    "mail": set(),
}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("request_name", _REQUESTS)
@pytest.mark.parametrize("user", _ALLOWED)
def test_users_of_this_machine(public: HubProcess, user: str, request_name: str) -> None:
    text = text_of(ask(public.socket("web1"), user, _REQUESTS[request_name]))
    refused = "may not use" in text
    assert refused != (request_name in _ALLOWED[user]), text


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_refusal_names_the_rule_and_is_recorded(public: HubProcess) -> None:
    text = text_of(ask(public.socket("web1"), "nobody", _REQUESTS["exec"]))
    assert text.startswith("nobody may not use exec on guest web1: the default")
    last = public.audit()[-1]
    assert (last["user"], last["command"]) == ("nobody", "exec")
    assert str(last["result"]).startswith("refused: ")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_refusals_do_not_push_the_record_away(public: HubProcess) -> None:
    count = 5000
    before = public.state("web1")["refused"]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        with acting_as("mail"):
            connection.connect(str(public.socket("web1")))
        connection.sendall(b'{"execute": "exec"}\n' * count)
        answers = connection.makefile("rb")
        assert all(b"error" in answers.readline() for _ in range(count))
    assert public.state("web1")["refused"] - before == count
    recorded = [line for line in public.audit() if line["user"] == "mail"]
    assert 0 < len(recorded) <= 100


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_only_its_owner_controls_the_hub(public: HubProcess) -> None:
    control = public.directory / "hub" / "hub.sock"

    assert "only root" in text_of(ask(control, "nobody", '{"execute": "release", "arguments": {"guest": "*"}}'))
    assert "only root" in text_of(ask(control, "nobody", '{"execute": "reload"}'))
    assert ask(control, "mail", '{"execute": "list"}') == {"return": []}
    (listed,) = public.ask("list")
    assert listed["name"] == "web1"


def test_one_user_cannot_take_all_connections(hub: HubProcess) -> None:
    connections = []
    try:
        for _ in range(300):
            connections.append(socket.socket(socket.AF_UNIX))
            connections[-1].settimeout(20)
            # The backlog may be full.
            while connections[-1].connect_ex(str(hub.socket("web1"))):
                time.sleep(0.01)
        assert "too many clients" in text_of(json.loads(connections[-1].makefile("rb").readline()))
    finally:
        for connection in connections:
            connection.close()
