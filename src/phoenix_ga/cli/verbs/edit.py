"""`phoenixctl edit`"""

from __future__ import annotations

import os
import posixpath
import shlex
import signal
import subprocess
import tempfile
from types import FrameType
from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest_path
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import ask
from phoenix_ga.cli.errors import REFUSED, complain
from phoenix_ga.cli.paths import guest_path
from phoenix_ga.cli.selection import is_plain
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

# As a shell reports a program that it cannot start.
_NOT_FOUND = 127
_SUFFIX_MAX = 100


@verb(
    short_help="Edit a file of the guest with your editor.",
    epilog="""\b
The file is copied to this host, and VISUAL, EDITOR or vi edits the copy. When the editor ends with
success and the text has changed, the file in the guest is replaced, in one step. A missing file is
created. Meanwhile, the port of the guest is free for others.

\b
Nothing is written if the file in the guest has changed meanwhile, if the editor fails, or if the
guest cannot be reached; your text then stays on this host, and a message tells where.

\b
Example:
  $ EDITOR='sed -i s/site/web/' phoenixctl edit web1:/etc/nginx/site.conf
""",
)
@click.argument("file", metavar="GUEST:/PATH", shell_complete=complete_guest_path)
@click.pass_obj
def command(options: Options, file: str) -> int:
    """Edit a file of the guest with your editor."""
    words, path = guest_path(file)
    if not is_plain(words):
        raise click.UsageError("edit works with one guest only.")
    # Not a TemporaryDirectory: the text stays unless it is in the guest.
    directory = tempfile.mkdtemp(prefix="phoenixctl-edit-")
    # The editor chooses its mode by the name.
    local = os.path.join(directory, posixpath.basename(path)[-_SUFFIX_MAX:] or "file")
    keep = False
    try:
        before, changed = ask(options, words, lambda guest: _fetch(guest, path, local))
        status = _run_editor(local)
        with open(local, "rb") as opened:
            text = opened.read()
        keep = text != before
        if status:
            complain(f"the editor ended with status {status}; nothing was written{_kept(local, keep)}", REFUSED)
            return REFUSED
        if not keep:
            complain("the text has not changed")
            return 0
        try:
            ask(options, words, lambda guest: _store(guest, path, text, changed))
        except BaseException:
            complain(f"the file may not have been written{_kept(local, True)}")
            raise
        keep = False
    finally:
        if not keep:
            for name in os.listdir(directory):
                os.unlink(os.path.join(directory, name))
            os.rmdir(directory)
    options.show({"path": path}, "")
    return 0


def _kept(local: str, keep: bool) -> str:
    return f"; your text is in {local}" if keep else ""


async def _fetch(guest: Guest, path: str, local: str) -> tuple[bytes, int]:
    """Copy a file to this host; return its content and when it changed, or 0 if there is none."""
    try:
        status = await guest.files.stat(path, follow=True)
    except FileNotFoundError:
        # The directory must exist.
        await guest.files.stat(posixpath.dirname(path.rstrip("/")) or "/", follow=True)
        open(local, "xb").close()
        return b"", 0
    await guest.get(path, local, permissions=0o600)
    with open(local, "rb") as file:
        return file.read(), status.changed


async def _store(guest: Guest, path: str, text: bytes, changed: int) -> None:
    async with guest.open(path, "wb", unless_changed=changed) as file:
        await file.write(text)


def _run_editor(local: str) -> int:
    """Run the user's editor; return its exit status, 128+N if signal N ended it."""
    line = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    # Ctrl-C is for the editor. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, _ignore)
    try:
        status = subprocess.run([*words, local], check=False).returncode
    except (OSError, IndexError, ValueError) as error:
        complain(f"{line}: {getattr(error, 'strerror', 'not a command')}; set EDITOR to your editor")
        return _NOT_FOUND
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
