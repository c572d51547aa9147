"""The lines of a config file in INI format."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class IniLine:
    """A line of a config file.

    Attributes:
        section: the section that it begins or is in; None before the first.
        is_header: it begins a section.
        value: None if the line has no equals sign.
    """

    __slots__ = ("is_header", "key", "number", "section", "text", "value")

    def __init__(self, number: int, text: str, section: str | None, key: str, value: str | None) -> None:
        self.number = number
        self.text = text
        self.section = section
        self.key = key
        self.value = value
        self.is_header = not key and value is None


def read_ini(path: str, comments: str) -> Iterator[IniLine]:
    """Yield the lines of a file, except blank ones and comments. comments: the characters that begin one."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().splitlines()
    section = None
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if not text or text[0] in comments:
            continue
        if text[0] == "[" and text[-1] == "]":
            section = text[1:-1].strip()
            yield IniLine(number, text, section, "", None)
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        yield IniLine(number, text, section, key, value if equals else None)
