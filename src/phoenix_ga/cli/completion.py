"""Completion of arguments in the shell. Guests are asked with a short time limit; errors offer nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from phoenix_ga.client import Guest

Result = TypeVar("Result")

# Time limit for asking a guest, in seconds.
_TIMEOUT = 1.0
_ENTRIES_MAX = 10_000
_ANSWER_MAX = 8 * 1024 * 1024
_OFFERED_MAX = 500
# The characters besides letters and digits that no shell interprets. A guest could slip in a command otherwise.
_HARMLESS = frozenset("._-+@%,:=")
_PASSWD_MAX = 1024 * 1024


def complete_guest(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return matching guests and groups; if there are none, let the shell complete a file name."""
    from click.shell_completion import CompletionItem

    before, comma, begin = text.rpartition(",")
    names = [f"{before}{comma}{name}" for name in _guest_names(begin)]
    return [CompletionItem(name) for name in names] or [CompletionItem(text, type="file")]


def complete_guest_path(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return matching files of a guest."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in _guest_paths(text)]


def complete_path(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return matching files of a guest; if there are none, let the shell complete a file name."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in _guest_paths(text)] or [CompletionItem(text, type="file")]


def complete_user(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return matching users of the guest, if GUEST was typed before."""

    async def read_passwd(guest: Guest) -> bytes:
        async with guest.files.get_stream("/etc/passwd", digest=False) as opened:
            return await opened.stream.read_all(_PASSWD_MAX)

    passwd = _ask(context.params.get("guest"), read_passwd, b"").decode("utf-8", "replace")
    return _offer((line.partition(":")[0] for line in passwd.splitlines()), text)


def complete_detached(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the process IDs that `attach` accepts."""

    async def list_detached(guest: Guest) -> list[str]:
        return [
            str(process.pid) for process in await guest.processes.list() if process.detached and not process.attached
        ]

    return _offer(_ask(context.params.get("guest"), list_detached, []), text)


def complete_ip(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the words that can follow in `ip`, and the guest's interfaces after `dev` and the like."""
    from phoenix_ga.cli import ip_syntax

    async def list_interfaces(guest: Guest) -> list[str]:
        return [interface.name for interface in await guest.network.interfaces()]

    words = tuple(context.params.get("words") or ())
    expected = ip_syntax.next_words(words)
    if ip_syntax.INTERFACE in expected:
        expected = [word for word in expected if word != ip_syntax.INTERFACE]
        expected += _ask(context.params.get("guest"), list_interfaces, [])
    return _offer(expected, text)


def complete_condition(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the words that a condition of `wait` begins with."""
    from phoenix_ga.cli.waiting_syntax import WORDS

    # The shell would take `load<` for a redirection.
    return _offer((word for word in WORDS if not word.endswith("<")), text)


def complete_event(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the names of events."""
    from phoenix_ga.wire.events import BY_NAME

    return _offer(BY_NAME, text.upper())


def _offer(words: Iterable[str], begin: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    found = [word for word in words if word.startswith(begin) and _is_harmless(word)]
    return [CompletionItem(word) for word in found[:_OFFERED_MAX]]


def _guest_paths(text: str) -> list[str]:
    from phoenix_ga.cli.paths import split_guest_path

    try:
        found = split_guest_path(text)
    except Exception:
        return []  # The verb will report the error.
    if found is None:
        return [f"{name}:/" for name in _guest_names(text) if not name.startswith("@")]
    endpoint, path = found
    directory, _, beginning = path.rpartition("/")

    async def list_directory(guest: Guest) -> list[str]:
        found: list[str] = []
        seen = 0
        async with guest.files.scan(f"{directory}/") as entries:
            while seen < _ENTRIES_MAX and (page := await entries.read_page()):
                seen += len(page)
                found += [
                    f"{entry.name}/" if entry.is_directory else entry.name
                    for entry in page
                    if entry.name.startswith(beginning) and _is_harmless(entry.name)
                ]
        return found

    before = text[: len(text) - len(beginning)]
    none: list[str] = []
    names = sorted(_ask(endpoint, list_directory, none))
    return [before + name for name in names[:_OFFERED_MAX] if beginning or not name.startswith(".")]


def _guest_names(begin: str) -> list[str]:
    if "/" in begin:
        return []
    try:
        from phoenix_ga.client.discovery import known_groups, known_guests

        names = [guest.name for guest in known_guests()] + [f"@{name}" for name in known_groups()]
    except Exception:
        return []  # The verb will report what is wrong with the configuration.
    return sorted(name for name in names if name.startswith(begin) and _is_harmless(name))[:_OFFERED_MAX]


def _is_harmless(name: str) -> bool:
    return name not in ("", ".", "..") and all(letter.isalnum() or letter in _HARMLESS for letter in name)


def _ask(words: Any, work: Callable[[Guest], Coroutine[Any, Any, Result]], default: Result) -> Result:
    """Return what `work` returns with the one guest that is selected; `default` if anything goes wrong."""
    import asyncio

    async def connected() -> Result:
        from phoenix_ga.client import connect

        async with connect(str(words), connect_timeout=_TIMEOUT, line_limit=_ANSWER_MAX) as guest:
            return await work(guest)

    async def in_time() -> Result:
        return await asyncio.wait_for(connected(), _TIMEOUT)

    try:
        return asyncio.run(in_time()) if words else default
    except Exception:
        return default
