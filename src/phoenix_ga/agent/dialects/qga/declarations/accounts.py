"""Commands about users and their keys."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import BOOLEAN, STRING, GuestCommand, ListOf, Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: Final[tuple[GuestCommand, ...]] = (
    GuestCommand(
        "guest-get-users",
        "accounts:guest_get_users",
        "List who is logged in, and since when.",
        governed_by=("sysinfo",),
    ),
    GuestCommand(
        "guest-set-user-password",
        "accounts:guest_set_user_password",
        "Set a user's password.",
        parameters=(
            Parameter("username", STRING),
            Parameter("password", STRING),
            Parameter("crypted", BOOLEAN),
        ),
        changes=True,
        full_access=True,
    ),
    GuestCommand(
        "guest-ssh-get-authorized-keys",
        "accounts:guest_ssh_get_authorized_keys",
        "List the keys in a user's ~/.ssh/authorized_keys.",
        parameters=(Parameter("username", STRING),),
    ),
    GuestCommand(
        "guest-ssh-add-authorized-keys",
        "accounts:guest_ssh_add_authorized_keys",
        "Add keys to a user's ~/.ssh/authorized_keys, or put them in the place of all that are there.",
        parameters=(
            Parameter("username", STRING),
            Parameter("keys", ListOf(STRING)),
            Parameter("reset", BOOLEAN, optional=True),
        ),
        changes=True,
        full_access=True,
    ),
    GuestCommand(
        "guest-ssh-remove-authorized-keys",
        "accounts:guest_ssh_remove_authorized_keys",
        "Remove keys from a user's ~/.ssh/authorized_keys.",
        parameters=(
            Parameter("username", STRING),
            Parameter("keys", ListOf(STRING)),
        ),
        changes=True,
        full_access=True,
    ),
)
