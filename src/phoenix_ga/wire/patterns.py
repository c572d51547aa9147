"""Patterns for paths, as a shell has them: `*`, `?`, `[...]`, and a backslash before a character meant literally.

A wildcard never matches a slash, nor a dot at the beginning of a name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Union

    # A character; ANY or MANY; or a set: whether it is negated, and its ranges.
    Step = Union[str, int, tuple[bool, list[tuple[str, str]]]]

_ANY: Final = 1
_MANY: Final = 2
_WILDCARDS: Final = "*?["


def is_pattern(path: str) -> bool:
    """Return whether a path holds `*`, `?` or `[`. In other paths, a backslash is an ordinary character."""
    return any(sign in path for sign in _WILDCARDS)


class NamePattern:
    """The pattern for one part of a path.

    Attributes:
        literal: the only name that it matches; None if it has wildcards.
    """

    __slots__ = ("_steps", "literal")

    def __init__(self, text: str) -> None:
        self._steps = _parse(text)
        literal = [step for step in self._steps if isinstance(step, str)]
        self.literal = "".join(literal) if len(literal) == len(self._steps) else None

    def matches(self, name: str) -> bool:
        """Return whether it matches a name, in at most len(name) times len(pattern) steps."""
        if self.literal is not None:
            return name == self.literal
        if name in (".", "..") or (name.startswith(".") and self._steps[0] != "."):
            return False
        steps = self._steps
        at = done = 0
        # The last `*`, and how much of the name was done when it was reached.
        star = star_done = -1
        while done < len(name):
            if at < len(steps) and steps[at] == _MANY:
                star, star_done = at, done
                at += 1
            elif at < len(steps) and _matches_one(steps[at], name[done]):
                at += 1
                done += 1
            elif star >= 0:
                star_done += 1
                at, done = star + 1, star_done
            else:
                return False
        return all(step == _MANY for step in steps[at:])


def path_matches(pattern: str, path: str) -> bool:
    """Return whether a path matches a pattern, part by part."""
    patterns, names = pattern.split("/"), path.split("/")
    return len(patterns) == len(names) and all(NamePattern(each).matches(name) for each, name in zip(patterns, names))


def _parse(text: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(text):
        sign = text[at]
        end = _end_of_set(text, at) if sign == "[" else 0
        if end:
            steps.append(_parse_set(text[at + 1 : end]))
            at = end
        elif sign == "\\" and at + 1 < len(text):
            at += 1
            steps.append(text[at])
        elif sign == "*":
            steps.append(_MANY)
        else:
            steps.append(_ANY if sign == "?" else sign)
        at += 1
    return steps


def _end_of_set(text: str, start: int) -> int:
    """Return the position of the bracket that closes a set, or 0: then the opening one is an ordinary character."""
    at = start + 1
    at += text[at : at + 1] in ("!", "^")
    # A bracket is a member of the set if it is the first.
    at += text[at : at + 1] == "]"
    while at < len(text) and text[at] != "]":
        at += 2 if text[at] == "\\" else 1
    return at if at < len(text) else 0


def _parse_set(text: str) -> Step:
    negated = text[:1] in ("!", "^")
    signs: list[tuple[str, bool]] = []
    at = int(negated)
    while at < len(text):
        quoted = text[at] == "\\" and at + 1 < len(text)
        at += quoted
        signs.append((text[at], quoted))
        at += 1
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(signs):
        first = signs[at][0]
        if at + 2 < len(signs) and signs[at + 1] == ("-", False):
            ranges.append((first, signs[at + 2][0]))
            at += 3
        else:
            ranges.append((first, first))
            at += 1
    return negated, ranges


def _matches_one(step: Step, sign: str) -> bool:
    if isinstance(step, tuple):
        negated, ranges = step
        return negated != any(first <= sign <= last for first, last in ranges)
    return step in (_ANY, sign)
