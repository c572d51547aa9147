"""The commands about users and their keys."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.base64_text import decode_guest_base64
from phoenix_ga.agent.operations.authorized_keys import AuthorizedKeys
from phoenix_ga.agent.operations.passwords import set_password
from phoenix_ga.agent.operations.system import users
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def guest_get_users(context: Context) -> list[dict[str, Any]]:
    """List the logged-in users, each once, with the time of the earliest login."""
    earliest: dict[str, float] = {}
    for user in users():
        earliest.setdefault(user.name, user.login_time)
    return [{"user": name, "login-time": time} for name, time in earliest.items()]


def guest_set_user_password(context: Context, username: str, password: str, crypted: bool) -> None:
    """Set a password. Raises OSError as `set_password` does."""
    set_password(username, decode_guest_base64(password), encrypted=crypted)


def guest_ssh_get_authorized_keys(context: Context, username: str) -> dict[str, Any]:
    """List the keys of a user, the last first as qemu-ga does. Raises OSError as `AuthorizedKeys` does."""
    return {"keys": AuthorizedKeys(username).keys()[::-1]}


def guest_ssh_add_authorized_keys(context: Context, username: str, keys: list[str], reset: bool | None) -> None:
    """Add keys to those of a user, or replace them. Raises OSError as `AuthorizedKeys` does."""
    _check(keys)
    AuthorizedKeys(username).add(keys, reset=bool(reset))


def guest_ssh_remove_authorized_keys(context: Context, username: str, keys: list[str]) -> None:
    """Remove keys of a user. Raises OSError as `AuthorizedKeys` does."""
    _check(keys)
    AuthorizedKeys(username).remove(keys)


def _check(keys: list[str]) -> None:
    for key in keys:
        if key.startswith("#") or "\n" in key or "\0" in key:
            raise CommandError(f"invalid OpenSSH public key: '{key}'", NO_CODE)
