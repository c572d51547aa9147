"""What is known of a guest before anybody asked it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownGuest:
    """name: to show and to select by. endpoint: where it is. source: who says so, such as `libvirt`."""

    name: str
    endpoint: str
    source: str
