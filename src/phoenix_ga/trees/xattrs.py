"""Extended attributes of files, see xattr(7): those of users, access control lists, capabilities."""

from __future__ import annotations

import os
from errno import E2BIG, ENODATA, EOPNOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

# Of one file: the bytes of all names and values, and how many there are.
SIZE_MAX: Final = 64 * 1024
COUNT_MAX: Final = 256
_NAME_MAX: Final = 255
_ACCESS_LISTS: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
_CAPABILITY: Final = b"security.capability"
_NAMESPACES: Final = (b"user.", b"trusted.", b"security.")


def is_unprivileged(name: bytes) -> bool:
    """Return whether the owner of a file may set an attribute: one of `user.`, or an access control list."""
    return name.startswith(b"user.") or name in _ACCESS_LISTS


def is_usual(name: bytes) -> bool:
    """Return whether an attribute is for all systems: unprivileged, or a program's capabilities."""
    return is_unprivileged(name) or name == _CAPABILITY


def is_known(name: bytes) -> bool:
    """Return whether an attribute can be copied: what filesystems add for themselves cannot."""
    return (name.startswith(_NAMESPACES) or name in _ACCESS_LISTS) and len(name) <= _NAME_MAX and b"\0" not in name


def list_names(file: int | bytes | str, wanted: Callable[[bytes], bool] = is_usual) -> list[bytes]:
    """Return the names of the wanted attributes of a file, in order."""
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno != EOPNOTSUPP:
            raise
        return []
    return sorted(filter(wanted, map(os.fsencode, names))) if names else []


def read_attributes(file: int, wanted: Callable[[bytes], bool]) -> dict[bytes, bytes]:
    """Return the wanted attributes of an open file.

    Raises:
        OSError: E2BIG if they take more than SIZE_MAX bytes.
    """
    attributes: dict[bytes, bytes] = {}
    for name in list_names(file, wanted):
        try:
            attributes[name] = os.getxattr(file, name)
        except OSError as error:
            # It was removed just now.
            if error.errno != ENODATA:
                raise
    check_size(attributes)
    return attributes


def check_size(attributes: Mapping[bytes, bytes]) -> None:
    """Raise OSError (E2BIG) if these are more than a file may have here."""
    size = sum(len(name) + len(value) for name, value in attributes.items())
    if size > SIZE_MAX or len(attributes) > COUNT_MAX:
        text = f"{len(attributes)} extended attributes of {size} bytes, more than {COUNT_MAX} or {SIZE_MAX} bytes"
        raise OSError(E2BIG, text)


def set_attributes(file: int, attributes: Mapping[bytes, bytes]) -> None:
    """Set attributes of an open file, after its owner and before its permissions. Raises OSError with the name."""
    for name, value in attributes.items():
        try:
            os.setxattr(file, name, value)
        except OSError as error:
            raise OSError(error.errno, f"cannot set the extended attribute {shown(name)}: {error.strerror}") from None


def drop_inherited(file: int) -> None:
    """Remove the access control lists that a new file has from its directory."""
    for name in _ACCESS_LISTS:
        try:
            os.removexattr(file, name)
        except OSError as error:
            if error.errno not in (ENODATA, EOPNOTSUPP):
                raise


def text_left_out(names: list[bytes]) -> str:
    """Return the note on the first file whose attributes are left out."""
    text = ", ".join(map(shown, names[:3])) + (", ..." if names[3:] else "")
    return f"extended attributes left out ({text}), perhaps of other files too; --xattrs keeps them"


def text_refused(names: list[bytes]) -> str:
    """Return the note on the first file whose attributes the sender may not choose."""
    return f"{', '.join(map(shown, names))} left out, perhaps of other files too; --all-xattrs takes it from a guest"


def shown(name: bytes) -> str:
    """Return a name as printable text."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"\\x{byte:02x}" for byte in name)
