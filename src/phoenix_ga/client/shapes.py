"""Reading values of which nothing is certain: a guest may send anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class ShapeError(ValueError):
    """A value is not of the shape that the protocol gives it."""


class Shape:
    """A value and where it stands. All methods raise ShapeError on one of another type."""

    __slots__ = ("_value", "_where")

    def __init__(self, value: Any, where: str = "the answer") -> None:
        self._value = value
        self._where = where

    def text(self) -> str:
        """Return a string."""
        return self._expect(str, "a string")

    def integer(self) -> int:
        """Return a whole number of at most 64 bits; JSON's `true` and 1.0 are none."""
        value: int = self._expect(int, "an integer")
        if not -(2**63) <= value < 2**64:
            raise ShapeError(f"{self._where} is out of range")
        return value

    def number(self) -> float:
        """Return a number, whole or not."""
        if type(self._value) is int:
            return float(self.integer())
        return self._expect(float, "a number")

    def boolean(self) -> bool:
        """Return a boolean."""
        return self._expect(bool, "a boolean")

    def member(self, name: str) -> Shape:
        """Return a member of an object."""
        members = self._expect(dict, "an object")
        if name not in members:
            raise ShapeError(f"{self._where} has no member '{name}'")
        return Shape(members[name], f"{self._where}.{name}")

    def has(self, name: str) -> bool:
        """Tell whether an object has a member."""
        return name in self._expect(dict, "an object")

    def optional_text(self, name: str) -> str:
        """Return a member of an object that is a string, empty where it is not there."""
        return self.member(name).text() if self.has(name) else ""

    def items(self, read: Callable[[Shape], Result]) -> tuple[Result, ...]:
        """Return what `read` makes of each element of an array."""
        values = self._expect(list, "an array")
        return tuple(read(Shape(value, f"{self._where}[{index}]")) for index, value in enumerate(values))

    def true(self) -> None:
        """Expect `true`, which says that something was done."""
        if self._value is not True:
            raise ShapeError(f"{self._where} is not 'true'")

    def _expect(self, kind: type[Result], called: str) -> Result:
        if type(self._value) is not kind:
            raise ShapeError(f"{self._where} is not {called}")
        return self._value
