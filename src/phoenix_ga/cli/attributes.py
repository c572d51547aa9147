"""The verbs `mkdir`, `chmod` and `chown`: directories are made, owners and permissions changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import REFUSED, complain
from phoenix_ga.cli.modes import Mode
from phoenix_ga.cli.path_completion import complete_guest_path
from phoenix_ga.cli.paths import each_path

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_PATHS = click.argument(
    "paths", metavar="GUEST:/PATH...", nargs=-1, required=True, shell_complete=complete_guest_path
)
# A new directory's permissions where nothing else is asked for, and what a symbolic mode starts from.
_DIRECTORY_MODE = 0o755
_DIRECTORY_MODE_MAX = 0o777
# What a program of the guest may write before it is ended, in bytes.
_COMPLAINTS_MAX = 1024 * 1024


@click.command(
    short_help="Make directories in the guest.",
    epilog="""\b
MODE is octal or symbolic, as with chmod; symbolic ones start from a=rwx. It is set exactly,
whatever the umask of the guest, and is that of the last directory; parents get 755.

\b
Examples:
  $ phoenixctl mkdir unix:/run/web1.sock:/srv/site
  $ phoenixctl mkdir -p -m 750 unix:/run/web1.sock:/srv/www/site/static
""",
)
@_PATHS
@click.option("-p", "--parents", is_flag=True, help="Make missing parents; a directory that is there is fine.")
@click.option("-m", "--mode", metavar="MODE", help="Permissions of the new directory. Default: 755.")
@click.pass_obj
def mkdir(options: Options, paths: tuple[str, ...], parents: bool, mode: str | None) -> int:
    """Make directories in the guest, as mkdir(1) does."""
    permissions = _DIRECTORY_MODE
    if mode is not None:
        permissions = Mode.parse(mode).apply(_DIRECTORY_MODE_MAX, True)

    async def work(guest: Guest, path: str) -> None:
        await guest.directory_create(path, permissions, parents)

    return each_path(options, paths, work, lambda path, _: _done(path))


@click.command(
    short_help="Change permissions of files of the guest.",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
MODE is octal, such as 644, or symbolic as with chmod(1): clauses such as u=rw, go-w, a+X or
g=u, with commas between them. One that names nobody, such as +w, means all but what a umask
of 022 leaves out. Symbolic links are followed.

\b
With -R, chmod(1) of the guest does it, which nobody there can lead astray with links: the
agent has to allow exec.

\b
Examples:
  $ phoenixctl chmod 640 unix:/run/web1.sock:/etc/motd
  $ phoenixctl chmod u=rw,go=r unix:/run/web1.sock:/etc/motd unix:/run/web1.sock:/etc/issue
""",
)
@click.argument("mode", metavar="MODE")
@_PATHS
@click.option("-R", "--recursive", is_flag=True, help="All that is below as well.")
@click.pass_obj
def chmod(options: Options, mode: str, paths: tuple[str, ...], recursive: bool) -> int:
    """Change the permissions of files and directories of the guest, as chmod(1) does."""
    change = Mode.parse(mode)
    if recursive:
        return _run_there(options, ("chmod", "-R", "--", mode), paths, mode=mode)

    async def work(guest: Guest, path: str) -> int:
        status = await guest.file_stat(path, follow=True)
        permissions = change.apply(status.permissions, status.is_directory)
        await guest.file_chmod(path, permissions)
        return permissions

    return each_path(options, paths, work, lambda path, now: _done(path, mode=f"{now:04o}"))


@click.command(
    short_help="Change owners of files of the guest.",
    epilog="""\b
OWNER and GROUP are names as the guest knows them, or numbers. Symbolic links are followed.

\b
With -R, chown(1) of the guest does it, as with chmod; links below are changed themselves.

\b
Examples:
  $ phoenixctl chown root:adm unix:/run/web1.sock:/etc/motd
  $ phoenixctl chown :adm unix:/run/web1.sock:/etc/motd
""",
)
@click.argument("owner", metavar="[OWNER][:GROUP]")
@_PATHS
@click.option("-R", "--recursive", is_flag=True, help="All that is below as well.")
@click.pass_obj
def chown(options: Options, owner: str, paths: tuple[str, ...], recursive: bool) -> int:
    """Change owner and group of files and directories of the guest, as chown(1) does."""
    user, colon, group = owner.partition(":")
    if "/" in owner or not (user or group) or (colon and not group):
        raise click.UsageError(f"{owner!r} is no owner; write OWNER, OWNER:GROUP or :GROUP.")
    if recursive:
        return _run_there(options, ("chown", "-R", "--", owner), paths, user=user, group=group)

    async def work(guest: Guest, path: str) -> None:
        await guest.file_chown(path, -1, -1, user, group)

    return each_path(options, paths, work, lambda path, _: _done(path, user=user, group=group))


def _run_there(options: Options, argv: tuple[str, ...], paths: tuple[str, ...], **more: str) -> int:
    """Let a program of the guest do it to each path, and show what it complains of."""

    async def work(guest: Guest, path: str) -> int:
        variables = {"LC_ALL": "C.UTF-8"}
        completed = await guest.run([*argv, path], env=variables, limit=_COMPLAINTS_MAX, timeout=options.timeout)
        for line in completed.stderr.decode("utf-8", "backslashreplace").splitlines():
            complain(line)
        return REFUSED if completed.returncode else 0

    return each_path(options, paths, work, lambda path, _: _done(path, **more), lambda status: status)


def _done(path: str, **more: str) -> tuple[dict[str, Any], str]:
    return {"path": path, **more}, ""
