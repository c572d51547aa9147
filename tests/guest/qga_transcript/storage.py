"""Disks, filesystems and the freeze; each agent thaws in the same row what it freezes, before the other's turn."""

from __future__ import annotations

from tests.guest.qga_transcript import Row

_FREEZE_LIST = '{"execute": "guest-fsfreeze-freeze-list", "arguments": '
_TRIM = '{"execute": "guest-fstrim", "arguments": '
_TRIMMED = ("0/return/paths/*/trimmed",)

_WHILE_FROZEN = "".join(
    f'{{"execute": "guest-{name}"}}'
    for name in (
        "fsfreeze-status",
        "ping",
        "get-time",
        "fsfreeze-freeze",
        "get-host-name",
        "fsfreeze-thaw",
        "fsfreeze-status",
    )
)

ROWS: tuple[Row, ...] = (
    Row("filesystems", '{"execute": "guest-get-fsinfo"}', differs="size-for-root"),
    Row("filesystems with an argument", '{"execute": "guest-get-fsinfo", "arguments": {"a": 1}}'),
    Row("filesystems with a list", '{"execute": "guest-get-fsinfo", "arguments": []}'),
    Row("filesystems with an unknown member", '{"execute": "guest-get-fsinfo", "a": 1}'),
    # In which order qemu-ga has them is left to chance.
    Row("disks", '{"execute": "guest-get-disks"}', masked=("0/return",)),
    Row("disks with an argument", '{"execute": "guest-get-disks", "arguments": {"a": 1}}'),
    Row("disks with null", '{"execute": "guest-get-disks", "arguments": null}'),
    Row("disks with an unknown member", '{"execute": "guest-get-disks", "a": 1}'),
    Row("counters", '{"execute": "guest-get-diskstats"}', masked=("0/return/*/stats/*",)),
    Row("counters with an argument", '{"execute": "guest-get-diskstats", "arguments": {"a": 1}}'),
    Row("counters with a text", '{"execute": "guest-get-diskstats", "arguments": "x"}'),
    Row("counters with an unknown member", '{"execute": "guest-get-diskstats", "a": 1}'),
    Row("trim", '{"execute": "guest-fstrim"}', masked=_TRIMMED),
    Row("trim with a minimum", _TRIM + '{"minimum": 4096}}', masked=_TRIMMED),
    Row("trim with a minimum of nothing", _TRIM + '{"minimum": 0}}', masked=_TRIMMED),
    Row("trim with a minimum below nothing", _TRIM + '{"minimum": -1}}'),
    Row("trim with a minimum beyond all", _TRIM + '{"minimum": 9223372036854775807}}'),
    Row("trim with a text", _TRIM + '{"minimum": "4096"}}'),
    Row("trim with a float", _TRIM + '{"minimum": 4096.0}}'),
    Row("trim with null", _TRIM + '{"minimum": null}}'),
    Row("trim with an unknown argument", _TRIM + '{"maximum": 1}}'),
    Row("status", '{"execute": "guest-fsfreeze-status"}'),
    Row("status with an argument", '{"execute": "guest-fsfreeze-status", "arguments": {"a": 1}}'),
    Row("status with a list", '{"execute": "guest-fsfreeze-status", "arguments": []}'),
    Row("status with an unknown member", '{"execute": "guest-fsfreeze-status", "a": 1}'),
    Row("freeze with an argument", '{"execute": "guest-fsfreeze-freeze", "arguments": {"mountpoints": []}}'),
    Row("freeze with a list", '{"execute": "guest-fsfreeze-freeze", "arguments": ["/"]}'),
    Row("freeze with an unknown member", '{"execute": "guest-fsfreeze-freeze", "a": 1}'),
    Row("freeze of no mount point", _FREEZE_LIST + '{"mountpoints": []}}'),
    Row("freeze of an unknown mount point", _FREEZE_LIST + '{"mountpoints": ["/nowhere", "", "."]}}'),
    Row("freeze of what cannot be frozen", _FREEZE_LIST + '{"mountpoints": ["/proc", "/run", "/etc"]}}'),
    Row("freeze of a text", _FREEZE_LIST + '{"mountpoints": "/"}}'),
    Row("freeze of a number", _FREEZE_LIST + '{"mountpoints": [1]}}'),
    Row("freeze of the second of two", _FREEZE_LIST + '{"mountpoints": ["/nowhere", {}]}}'),
    Row("freeze with an unknown argument", _FREEZE_LIST + '{"mountpoint": "/"}}'),
    Row("a freeze of all, and what may be asked meanwhile", '{"execute": "guest-fsfreeze-freeze"}' + _WHILE_FROZEN),
    Row("a freeze of one, and what may be asked meanwhile", _FREEZE_LIST + '{"mountpoints": ["/"]}}' + _WHILE_FROZEN),
    Row("a freeze without a list", '{"execute": "guest-fsfreeze-freeze-list"}' + _WHILE_FROZEN),
    Row(
        "a mistake in what may not be asked while frozen",
        '{"execute": "guest-fsfreeze-freeze"}{"execute": "guest-file-open"}{"execute": "guest-fsfreeze-thaw"}',
        differs="mistake-first",
    ),
    Row("status after all that", '{"execute": "guest-fsfreeze-status"}'),
    Row("thaw of nothing", '{"execute": "guest-fsfreeze-thaw"}'),
    Row("thaw with an argument", '{"execute": "guest-fsfreeze-thaw", "arguments": {"a": 1}}'),
    Row("thaw with a number", '{"execute": "guest-fsfreeze-thaw", "arguments": 1}'),
    Row("thaw with an unknown member", '{"execute": "guest-fsfreeze-thaw", "a": 1}'),
)
