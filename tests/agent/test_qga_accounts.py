"""Users, passwords and keys, as the QEMU Guest Agent's clients ask for them; nothing of this machine changes."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.agent.operations import passwords
from phoenix_ga.agent.operations.passwords import set_password
from tests.ends.client import LineClient
from tests.support import AgentProcess

PASSWORD = "guest-set-user-password"
GET = "guest-ssh-get-authorized-keys"
ADD = "guest-ssh-add-authorized-keys"
REMOVE = "guest-ssh-remove-authorized-keys"


def ask(client: LineClient, execute: str, **arguments: object) -> dict[str, Any]:
    client.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
    return client.answer()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        (PASSWORD, {}, "Parameter 'username' is missing"),
        (PASSWORD, {"username": "x", "password": ""}, "Parameter 'crypted' is missing"),
        (
            PASSWORD,
            {"username": "x", "password": "!!", "crypted": False},
            "Base64 data contains invalid characters",
        ),
        (
            PASSWORD,
            {"username": "x", "password": encoded("secret\n"), "crypted": False},
            "forbidden characters in raw password",
        ),
        (
            PASSWORD,
            {"username": "x:y", "password": encoded("secret"), "crypted": True},
            "forbidden characters in username",
        ),
        (
            PASSWORD,
            {"username": "x\ny", "password": encoded("secret"), "crypted": True},
            "forbidden characters in username",
        ),
        (
            PASSWORD,
            {"username": "no-such-user-here", "password": encoded("secret"), "crypted": False},
            "child process has failed to set user password",
        ),
        (GET, {"username": "no-such-user-here"}, "failed to lookup user 'no-such-user-here': No such user"),
        (ADD, {"username": "no-such-user-here", "keys": ["# x"]}, "invalid OpenSSH public key: '# x'"),
        (REMOVE, {"username": "no-such-user-here", "keys": ["a\nb"]}, "invalid OpenSSH public key: 'a\nb'"),
        (ADD, {"username": "root", "keys": [1]}, "Invalid parameter type for 'keys[0]', expected: string"),
        (ADD, {"username": "root", "keys": [], "reset": 1}, "Invalid parameter type for 'reset', expected: boolean"),
        (REMOVE, {"username": "root"}, "Parameter 'keys' is missing"),
    ],
)
def test_mistakes(client: LineClient, command: str, arguments: dict[str, object], text: str) -> None:
    assert ask(client, command, **arguments)["error"] == {"class": "GenericError", "desc": text}


def test_a_password_is_in_no_log(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, "--debug") as agent, agent.connect() as client:
        secret = encoded("this is a secret")
        ask(client, PASSWORD, username="no-such-user-here", password=secret, crypted=False)
        agent.wait_for_log("audit: ")
        log = agent.log()
        assert "audit: " in log
        assert 'guest-set-user-password username="no-such-user-here"' in log
        assert secret not in log
        assert "this is a secret" not in log


@pytest.fixture
def chpasswd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of chpasswd, that keeps what it is given in `given`."""
    program = tmp_path / "chpasswd"
    program.write_text(f'#!/bin/sh\necho "$0" "$@" > {tmp_path}/given\ncat >> {tmp_path}/given\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(passwords, "SEARCH_PATH", f"{tmp_path}:/bin")
    return program


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_chpasswd_is_given(chpasswd: Path, encrypted: bool) -> None:
    set_password("joe", "sec ret:\u00e4".encode(), encrypted=encrypted)
    option = " -e" if encrypted else ""
    assert (chpasswd.parent / "given").read_text() == f"{chpasswd}{option}\njoe:sec ret:\u00e4\n"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 1", "child process has failed to set user password"),
        ("kill -9 $$", "child process has terminated abnormally"),
        ("", "cannot find 'passwd' program in PATH"),
    ],
)
def test_why_a_password_was_not_set(chpasswd: Path, script: str, text: str) -> None:
    chpasswd.write_text(f"#!/bin/sh\nexec <&-\n{script}\n")
    if not script:
        chpasswd.unlink()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=text):
        set_password("joe", b"secret", encrypted=False)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("password", [b"a\nb", b"a\0b", b"x" * 513])
def test_passwords_that_chpasswd_cannot_take(chpasswd: Path, password: bytes) -> None:
    with pytest.raises(OSError, match="password") as caught:
        set_password("joe", password, encrypted=False)
    assert caught.value.errno == errno.EINVAL
    assert not (chpasswd.parent / "given").exists()


def test_users_come_once_with_their_earliest_login(monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_ga.agent.dialects.qga import accounts
    from phoenix_ga.agent.operations.system import User

    logins = [User("joe", "tty1", "", 100.25), User("root", "pts/0", "", 150.0), User("joe", "pts/1", "::1", 200.5)]
    monkeypatch.setattr(accounts, "users", lambda: logins)
    shown = accounts.guest_get_users(None)  # type: ignore[arg-type]
    assert shown == [{"user": "joe", "login-time": 100.25}, {"user": "root", "login-time": 150.0}]
