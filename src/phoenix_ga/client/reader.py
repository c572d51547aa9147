"""Strict reading of JSON values that come from an untrusted guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class ReadError(ValueError):
    """A value has not the type that the protocol gives it."""


class Reader:
    """A JSON value and its position in the answer. Every method raises ReadError on a value of another type."""

    __slots__ = ("_value", "_where")

    def __init__(self, value: Any, where: str = "the answer") -> None:
        self._value = value
        self._where = where

    def text(self) -> str:
        """Return a string."""
        return self._expect(str, "a string")

    def integer(self) -> int:
        """Return an integer of at most 64 bits; `true` and 1.0 are none."""
        value: int = self._expect(int, "an integer")
        if not -(2**63) <= value < 2**64:
            raise ReadError(f"{self._where} is out of range")
        return value

    def number(self) -> float:
        """Return an integer or a float as a float."""
        if type(self._value) is int:
            return float(self.integer())
        return self._expect(float, "a number")

    def boolean(self) -> bool:
        """Return a boolean."""
        return self._expect(bool, "a boolean")

    def member(self, name: str) -> Reader:
        """Return a reader of a member of an object."""
        members = self._expect(dict, "an object")
        if name not in members:
            raise ReadError(f"{self._where} has no member '{name}'")
        return Reader(members[name], f"{self._where}.{name}")

    def has(self, name: str) -> bool:
        """Return whether an object has a member."""
        return name in self._expect(dict, "an object")

    def optional(self, read: Callable[[Reader], Result]) -> Result | None:
        """Return what `read` returns, or None for `null`."""
        return None if self._value is None else read(self)

    def items(self, read: Callable[[Reader], Result]) -> tuple[Result, ...]:
        """Return what `read` returns for each element of an array."""
        values = self._expect(list, "an array")
        return tuple(read(Reader(value, f"{self._where}[{index}]")) for index, value in enumerate(values))

    def members(self, read: Callable[[Reader], Result]) -> dict[str, Result]:
        """Return what `read` returns for each member of an object."""
        values = self._expect(dict, "an object")
        return {name: read(Reader(value, f"{self._where}.{name}")) for name, value in values.items()}

    def object(self) -> dict[str, Any]:
        """Return an object, whose members are unchecked."""
        return self._expect(dict, "an object")

    def texts(self) -> tuple[str, ...]:
        """Return an array of strings."""
        return self.items(Reader.text)

    def true(self) -> None:
        """Expect `true`, the answer of commands that return nothing."""
        if self._value is not True:
            raise ReadError(f"{self._where} is not 'true'")

    def empty(self) -> None:
        """Expect an object, the answer of QEMU Guest Agent commands that return nothing."""
        self._expect(dict, "an object")

    def typed(self, kind: Any) -> Any:
        """Return the value unchanged if it is of a type: a basic one, a `list[...]` or a TypedDict of such.

        Members that a TypedDict does not declare are kept as they are.
        """
        if kind in _BASIC:
            return _BASIC[kind](self)
        if getattr(kind, "__origin__", None) is list:
            self.items(lambda item: item.typed(kind.__args__[0]))
        else:
            for name, inner in kind.__annotations__.items():
                if name in kind.__required_keys__ or self.has(name):
                    self.member(name).typed(inner)
        return self._value

    def _expect(self, kind: type[Result], called: str) -> Result:
        if type(self._value) is not kind:
            raise ReadError(f"{self._where} is not {called}")
        return self._value


_BASIC: dict[Any, Callable[[Reader], Any]] = {
    str: Reader.text,
    int: Reader.integer,
    float: Reader.number,
    bool: Reader.boolean,
}
