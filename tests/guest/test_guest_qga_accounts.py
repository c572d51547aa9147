"""Passwords and keys of real users of a guest, and what a user may have put in the way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lab.machine import Machine
from tests.ends.client import LineClient

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

ADD = "guest-ssh-add-authorized-keys"
GET = "guest-ssh-get-authorized-keys"
REMOVE = "guest-ssh-remove-authorized-keys"
FILE = "/home/{}/.ssh/authorized_keys"


def ask(client: LineClient, execute: str, **arguments: object) -> dict[str, Any]:
    client.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
    return client.answer()


@pytest.fixture
def user(guest: Machine, request: pytest.FixtureRequest) -> str:
    """The name of a new user."""
    name = f"user{abs(hash(request.node.name)) % 10_000_000}"
    guest.run(f"useradd --create-home {name}")
    return name


def shadow(guest: Machine, user: str) -> str:
    return guest.run(f"getent shadow {user}").text.split(":")[1]


def is_password(guest: Machine, user: str, password: str) -> bool:
    script = "import crypt, sys; sys.exit(crypt.crypt(sys.argv[1], sys.argv[2]) != sys.argv[2])"
    command = f"python3 -W ignore -c '{script}' '{password}' '{shadow(guest, user)}'"
    return guest.run(command, check=False).status == 0


def test_a_password_is_set_plain_or_encrypted(guest: Machine, client: LineClient, user: str) -> None:
    password = "a secret: with spaces, that is longer than a line of MIME may be: " + "0123456789" * 3
    # Proxmox VE sends base64 with line breaks, and one at the end.
    text = base64.encodebytes(password.encode()).decode()
    assert text.count("\n") > 1
    answer = ask(client, "guest-set-user-password", username=user, password=text, crypted=False)
    assert answer == {"return": {}}
    assert is_password(guest, user, password)
    assert not is_password(guest, user, password[:-1])
    encrypted = "$6$salt$hashhashhash"
    text = base64.b64encode(encrypted.encode()).decode()
    assert ask(client, "guest-set-user-password", username=user, password=text, crypted=True) == {"return": {}}
    assert shadow(guest, user) == encrypted
    journal = guest.run("journalctl -u phoenix-ga").text
    assert "guest-set-user-password" in journal
    assert text not in journal


def test_keys_are_the_users_own_and_ssh_takes_them(guest: Machine, client: LineClient, user: str) -> None:
    guest.run("test -f /root/key || ssh-keygen -q -t ed25519 -N '' -C joe@host -f /root/key")
    key = guest.run("cat /root/key.pub").text.strip()
    assert ask(client, GET, username=user)["error"]["desc"].endswith("No such file or directory")
    # A file that ends with a newline gets to libvirt's clients as an empty key.
    assert ask(client, ADD, username=user, keys=[key, "ssh-rsa AAAA old", ""]) == {"return": {}}
    assert ask(client, REMOVE, username=user, keys=["ssh-rsa AAAA old"]) == {"return": {}}
    assert ask(client, GET, username=user) == {"return": {"keys": [key]}}
    file = FILE.format(user)
    shown = guest.run(f"stat -c '%a %U %F' {file} $(dirname {file}); ls -A $(dirname {file})").text.splitlines()
    assert shown == [f"600 {user} regular file", f"700 {user} directory", "authorized_keys"]
    assert "ED25519" in guest.run(f"ssh-keygen -l -f {file}").text
    assert ask(client, ADD, username=user, keys=[], reset=True) == {"return": {}}
    assert ask(client, GET, username=user) == {"return": {"keys": []}}


def test_what_a_user_has_planted_makes_root_neither_read_nor_write_elsewhere(
    guest: Machine, client: LineClient, user: str
) -> None:
    guest.run(f"runuser -u {user} -- sh -c 'mkdir ~/.ssh && ln -s /etc/shadow ~/.ssh/authorized_keys'")
    before = guest.run("md5sum /etc/shadow; stat -c '%a %U %i' /etc/shadow").text
    for command, arguments in ((GET, {}), (ADD, {"keys": ["a 1"]}), (REMOVE, {"keys": ["a 1"]})):
        text = ask(client, command, username=user, **arguments)["error"]["desc"]
        assert text.endswith("Too many levels of symbolic links")
    # A hard link to what is not for this user's eyes, where the system lets users make one.
    guest.run(f"rm {FILE.format(user)}; ln /etc/shadow {FILE.format(user)} || cp -p /etc/shadow {FILE.format(user)}")
    for command, arguments in ((GET, {}), (ADD, {"keys": ["a 1"]})):
        assert ask(client, command, username=user, **arguments)["error"]["desc"].endswith("Permission denied")
    guest.run(f"rm -r /home/{user}/.ssh; runuser -u {user} -- ln -s /root/planted /home/{user}/.ssh")
    guest.run("mkdir -p /root/planted")
    assert "error" in ask(client, ADD, username=user, keys=["a 1"], reset=True)
    assert guest.run("ls -A /root/planted").text == ""
    assert guest.run("md5sum /etc/shadow; stat -c '%a %U %i' /etc/shadow").text == before


def test_nobody_is_logged_in(client: LineClient) -> None:
    assert ask(client, "guest-get-users") == {"return": []}
