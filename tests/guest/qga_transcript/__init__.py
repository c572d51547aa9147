"""A conversation that is held with qemu-ga and with our agent in the same guest: what is sent, in rows.

Each room has a module with its ROWS. The answers must be the same but for what is volatile, and for
the deviations that docs/qga.md lists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that is sent, and how its answers are compared.

    name: what the row is about. sends: the text, without a newline; `$NAME` in it stands for what an
    earlier row kept, and `<0xFF>` for that byte. masked: paths into the list of answers, such as
    `0/return/version`, with `*` for any member or element: only the shape of what is there is
    compared. keeps: the name of a variable that `return`, or its only member, is kept in. differs: the
    name of the listed deviation, where ours is meant to answer otherwise. awaits: a member of `return`;
    the row is sent again until it is true.
    """

    name: str
    sends: str
    masked: tuple[str, ...] = ()
    keeps: str = ""
    differs: str = ""
    awaits: str = ""
