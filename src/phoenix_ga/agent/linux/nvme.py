"""The health of an NVMe disk: the SMART log page of the NVM Express Base Specification."""

from __future__ import annotations

import fcntl
import os
import struct
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NVME_IOCTL_ADMIN_CMD: Final = 0xC0484E41  # linux/nvme_ioctl.h
# struct nvme_admin_cmd: opcode, flags, reserved, namespace, two words, metadata, data, the lengths of both,
# six words, the time limit in milliseconds, the result.
_COMMAND: Final = struct.Struct("=BBHIIIQQII6III")
_GET_LOG_PAGE: Final = 2
_SMART: Final = 2
_EVERY_NAMESPACE: Final = 0xFFFFFFFF
_PAGE_SIZE: Final = 512
_TIME_LIMIT_MS: Final = 5000
_HEAD: Final = struct.Struct("<BHBBB")
_HEAD_NAMES: Final = (
    "critical-warning",
    "temperature",
    "available-spare",
    "available-spare-threshold",
    "percentage-used",
)
_COUNTERS_AT: Final = 32
# Each is a number of 128 bits.
_COUNTERS: Final = (
    "data-units-read",
    "data-units-written",
    "host-read-commands",
    "host-write-commands",
    "controller-busy-time",
    "power-cycles",
    "power-on-hours",
    "unsafe-shutdowns",
    "media-errors",
    "number-of-error-log-entries",
)


def read_smart(path: str) -> dict[str, int]:
    """Ask the NVMe disk at `path` how it is. Raises OSError.

    The temperature is in kelvins. Counters of 128 bits come as two members, `NAME-lo` and `NAME-hi`.
    """
    page = array("B", bytes(_PAGE_SIZE))
    place, length = page.buffer_info()
    dwords = length // 4 - 1
    command = _COMMAND.pack(
        _GET_LOG_PAGE, 0, 0, _EVERY_NAMESPACE, 0, 0, 0, place, 0, length,
        dwords << 16 | _SMART, 0, 0, 0, 0, 0, _TIME_LIMIT_MS, 0,
    )  # fmt: skip
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # A positive answer is a status of the disk.
        if fcntl.ioctl(descriptor, NVME_IOCTL_ADMIN_CMD, bytearray(command), True):
            return {}
    finally:
        os.close(descriptor)
    return parse_smart(page.tobytes())


def parse_smart(page: bytes) -> dict[str, int]:
    """Decode the log page."""
    values = dict(zip(_HEAD_NAMES, _HEAD.unpack_from(page)))
    for number, name in enumerate(_COUNTERS):
        low, high = struct.unpack_from("<QQ", page, _COUNTERS_AT + 16 * number)
        values[f"{name}-lo"] = low
        values[f"{name}-hi"] = high
    return values
