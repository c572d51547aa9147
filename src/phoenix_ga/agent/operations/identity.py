"""The identity of the system: OS release, host name, time zone."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# os-release(5)
_RELEASE_FILES: Final = ("/etc/os-release", "/usr/lib/os-release")
# Within double quotes; the single one is qemu-ga's own.
_ESCAPED: Final = "\"\\$`'"
_ENDS: Final = " \t;"


def os_release(paths: tuple[str, ...] = _RELEASE_FILES) -> dict[str, str]:
    """Return the variables of the first file that exists; empty if none does."""
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        pairs = (line.strip().partition("=") for line in lines if not line.lstrip().startswith("#"))
        return {name.rstrip(): unquote(value.lstrip()) for name, equals, value in pairs if equals}
    return {}


def unquote(value: str) -> str:
    """Return the value of a shell variable: the first word, without quotes."""
    found = []
    quote = ""
    rest = iter(value)
    for character in rest:
        if character == "\\" and quote != "'":
            following = next(rest, "")
            if quote and following not in _ESCAPED:
                found.append(character)
            found.append(following)
        elif character == quote:
            quote = ""
        elif quote:
            found.append(character)
        elif character in "\"'":
            quote = character
        elif character in _ENDS:
            break
        else:
            found.append(character)
    return "".join(found)


def host_name() -> str:
    """Return the name of the host."""
    return os.uname().nodename


def time_zone() -> tuple[str, int]:
    """Return the abbreviation of the time zone, and its current offset east of UTC in seconds."""
    # The time zone may have changed since the agent was started.
    time.tzset()
    now = time.localtime()
    return now.tm_zone, now.tm_gmtoff
