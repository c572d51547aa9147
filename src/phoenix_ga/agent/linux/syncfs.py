"""syncfs(2), which Python lacks. Imported by the first freeze.

The C half of `ctypes` is called directly, as in `inotify`.
"""

from __future__ import annotations

from errno import EIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    dlopen: Callable[[str | None, int], int]
    dlsym: Callable[[int, str], int]
    call_cdeclfunction: Callable[[int, tuple[int, ...]], int]
else:
    from _ctypes import call_cdeclfunction, dlopen, dlsym

_syncfs: Final = dlsym(dlopen(None, 0), "syncfs")


def syncfs(descriptor: int) -> None:
    """Write all dirty data of the filesystem of an open file to its disk. Raises OSError (EIO) if that fails."""
    if call_cdeclfunction(_syncfs, (descriptor,)) != 0:
        raise OSError(EIO, "cannot write back the filesystem")
