"""The script that installs the agent when a guest boots, for cloud-init and for the ISO image."""

from __future__ import annotations

import base64
import lzma
import shlex
import textwrap
from collections.abc import Sequence

_HOOK = """\
#cloud-boothook
#!/bin/sh
# Installs the Phoenix guest agent at the first boot. cloud-init keeps other parts of the user data.
[ -x /usr/sbin/phoenix-ga ] && exit 0
umask 077
directory=$(mktemp -d /run/phoenix-XXXXXX) || exit 1
python3 -c 'import base64, lzma, sys
sys.stdout.buffer.write(lzma.decompress(base64.b64decode(sys.stdin.read())))' >"$directory/phoenix-ga.pyz" <<'END'
{text}
END
python3 "$directory/phoenix-ga.pyz" --install {options}
status=$?
rm -rf "$directory"
exit $status
"""
_INSTALLER = """\
#!/bin/sh
# Installs the Phoenix guest agent from this disc. Options are those of `phoenix-ga --install`.
set -e
exec python3 "$(dirname "$0")/phoenix-ga.pyz" --install {options} "$@"
"""


def boot_hook(archive: bytes, options: Sequence[str]) -> str:
    """Return user data for cloud-init. options: for `phoenix-ga --install`."""
    text = base64.b64encode(lzma.compress(archive, preset=9)).decode()
    return _HOOK.format(text="\n".join(textwrap.wrap(text, 76)), options=shlex.join(options))


def installer(options: Sequence[str]) -> bytes:
    """Return the installer of the ISO image. options: for `phoenix-ga --install`."""
    return _INSTALLER.format(options=shlex.join(options)).encode()
