"""Who may do what with which guest.

    [[rule]]
    name = "operators may look"       # for refusals and `phoenixctl hub explain`
    users = ["alice", "bob"]          # a user ...
    groups = ["operators"]            # ... or a member of a group
    guests = ["web*"]                 # shell patterns of names; default: all
    allow = ["viewer", "fs-freeze"]   # roles, names and patterns of commands
    deny = ["sysinfo"]

Rules are read in order. The first one that names the user and the guest, and the command in `deny` or `allow`,
decides. After the last one, root and the group `phoenix` may do everything, and everybody else nothing.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from phoenix_ga.hub.catalogue import changes_guest, find_command
from phoenix_ga.hub.users import User

GROUP: Final = "phoenix"
#: What the roles include, derived from the declarations of the commands.
ROLES: Final = {
    "viewer": "commands that neither change the guest nor give access to its files and programs",
    "backup": "viewer, and freezing and thawing",
    "operator": "every command that does not give access to the guest's files and programs",
    "admin": "every command",
}


@dataclass(frozen=True)
class Verdict:
    """A decision. allowed: whether the request may run. reason: the rule that decided, in words."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class Rule:
    """A rule, see the module. number: its position in the file, from 1."""

    number: int
    name: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    guests: tuple[str, ...]
    allow: tuple[str, ...]
    deny: tuple[str, ...]

    def __str__(self) -> str:
        return f"rule {self.number}" + (f" ({self.name})" if self.name else "")

    def is_for(self, user: User, guest: str) -> bool:
        """Return whether it is about this user and guest."""
        named = "*" in self.users or user.name in self.users or str(user.uid) in self.users
        return (named or not user.groups.isdisjoint(self.groups)) and any(
            fnmatch.fnmatchcase(guest, pattern) for pattern in self.guests
        )

    def decide(self, command: str, arguments: Mapping[str, Any]) -> Verdict | None:
        """Return the decision about a request, or None if the rule does not name its command."""
        changes = changes_guest(command, arguments)
        for words, allowed in ((self.deny, False), (self.allow, True)):
            for word in words:
                if _includes(word, command, changes):
                    return Verdict(allowed, f"{self}: {'allow' if allowed else 'deny'} {word}")
        return None


_LAST: Final = (
    Verdict(True, "the default: root and the group phoenix may do everything"),
    Verdict(False, "the default: only root and the group phoenix may use guests; see /etc/phoenix/hub.toml"),
)


class Rules:
    """All rules, in order."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def decide(self, user: User, guest: str, command: str, arguments: Mapping[str, Any]) -> Verdict:
        """Return the decision about a request."""
        for rule in self._rules:
            if rule.is_for(user, guest) and (verdict := rule.decide(command, arguments)) is not None:
                return verdict
        return _LAST[not _is_trusted(user)]

    def knows(self, user: User, guest: str) -> bool:
        """Return whether the user may do anything at all with the guest."""
        return _is_trusted(user) or any(rule.allow and rule.is_for(user, guest) for rule in self._rules)


_LISTS: Final = ("users", "groups", "guests", "allow", "deny")


def read_rules(value: Any) -> Rules:
    """Return the rules of the configuration. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError("rules are written as [[rule]]")
    return Rules(_read_rule(number, each) for number, each in enumerate(value, 1))


def _read_rule(number: int, value: Any) -> Rule:
    if not isinstance(value, dict):
        raise ValueError(f"rule {number} must be a table")
    lists = {
        name: _words(number, name, value.get(name, [])) for name in ("users", "groups", "guests", "allow", "deny")
    }
    for name in value:
        if name != "name" and name not in lists:
            raise ValueError(f"rule {number}: unknown key {name!r}")
    if not isinstance(value.get("name", ""), str):
        raise ValueError(f"rule {number}: name must be a string")
    if not (lists["users"] or lists["groups"]):
        raise ValueError(f"rule {number} names no users and no groups")
    for word in (*lists["allow"], *lists["deny"]):
        if word not in ROLES and not set("*?[") & set(word) and find_command(word) is None:
            raise ValueError(f"rule {number}: {word!r} is neither a role ({', '.join(ROLES)}) nor a command")
    return Rule(number, value.get("name", ""), guests=lists.pop("guests") or ("*",), **lists)


def _words(number: int, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"rule {number}: {name} must be a list of strings")
    return tuple(value)


def _is_trusted(user: User) -> bool:
    return user.uid == 0 or GROUP in user.groups


@lru_cache(maxsize=4096)
def _includes(word: str, name: str, changes: bool) -> bool:
    """Return whether a role, a name or a pattern includes a command with arguments that change the guest or not."""
    if word not in ROLES:
        command = find_command(name)
        names = (name,) if command is None else (name, command.name)
        return any(fnmatch.fnmatchcase(each, word) for each in names)
    command = find_command(name)
    if word == "admin":
        return True
    # Nobody knows what an unknown command does.
    if command is None or command.full_access:
        return False
    return word == "operator" or not changes or (word == "backup" and command.urgent)
