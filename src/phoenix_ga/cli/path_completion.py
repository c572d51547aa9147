"""Completion of GUEST:/PATH, for which the guest is asked. It never fails, and never takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from phoenix_ga.client import FileStatus

# Who presses the key waits so long at the most, in seconds.
_PATIENCE = 1.0
_ENTRIES_MAX = 10_000
_ANSWER_MAX = 8 * 1024 * 1024
_OFFERED_MAX = 500
# What no shell takes for anything but a part of a word. A name of a guest could be a command else.
_HARMLESS = frozenset("._-+@%,:=")


def complete_guest(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the guests and the groups whose names begin so; else leave it to the shell to look for sockets."""
    from click.shell_completion import CompletionItem

    before, comma, begin = text.rpartition(",")
    names = [f"{before}{comma}{name}" for name in _names(begin)]
    return [CompletionItem(name) for name in names] or [CompletionItem(text, type="file")]


def complete_guest_path(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the files of the guest that GUEST:/PATH may mean."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in _words(text)]


def complete_path(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Return the files of the guest that GUEST:/PATH may mean; else leave it to the shell to look for local ones."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in _words(text)] or [CompletionItem(text, type="file")]


def _words(text: str) -> list[str]:
    from phoenix_ga.cli.paths import split_guest_path

    try:
        found = split_guest_path(text)
        if found is None:
            return [f"{name}:/" for name in _names(text) if not name.startswith("@")]
        endpoint, path = found
        directory, _, beginning = path.rpartition("/")
        entries = _entries(endpoint, f"{directory}/")
    except Exception:
        # Whatever it is, the user who presses the key again or the command itself will tell.
        return []
    names = sorted(
        f"{entry.name}/" if entry.is_directory else entry.name
        for entry in entries
        if entry.name.startswith(beginning) and _is_harmless(entry.name)
    )
    before = text[: len(text) - len(beginning)]
    return [before + name for name in names[:_OFFERED_MAX] if beginning or not name.startswith(".")]


def _names(begin: str) -> list[str]:
    if "/" in begin:
        return []
    try:
        from phoenix_ga.client.discovery import known_groups, known_guests

        names = [guest.name for guest in known_guests()] + [f"@{name}" for name in known_groups()]
    except Exception:
        # Whatever is wrong with the configuration, the command itself will tell.
        return []
    return sorted(name for name in names if name.startswith(begin) and _is_harmless(name))[:_OFFERED_MAX]


def _is_harmless(name: str) -> bool:
    return name not in ("", ".", "..") and all(letter.isalnum() or letter in _HARMLESS for letter in name)


def _entries(endpoint: str, directory: str) -> tuple[FileStatus, ...]:
    import asyncio

    from phoenix_ga.client import connect

    async def ask() -> tuple[FileStatus, ...]:
        async with connect(endpoint, connect_timeout=_PATIENCE, line_limit=_ANSWER_MAX) as guest:
            return await guest.directory_list(directory, _ENTRIES_MAX)

    async def ask_in_time() -> tuple[FileStatus, ...]:
        return await asyncio.wait_for(ask(), _PATIENCE)

    return asyncio.run(ask_in_time())
