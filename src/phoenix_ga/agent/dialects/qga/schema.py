"""How the commands of the QEMU Guest Agent are declared, and the argument checks that follow from it.

The error texts are exactly those of QEMU's input visitor (qapi/qobject-input-visitor.c), because clients match them.
"""

from __future__ import annotations

from phoenix_ga.wire.declaration import INT64_MAX, ArgumentError, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

_UINT64_MAX: Final = 2 * INT64_MAX + 1


class Type:
    """A type of the schema. name: in error texts."""

    name = ""

    def check(self, value: Any, path: str) -> Any:
        """Return the value for the handler. path: its position in the arguments. Raises ArgumentError."""
        raise NotImplementedError

    def refuse(self, path: str) -> ArgumentError:
        return ArgumentError(f"Invalid parameter type for '{path}', expected: {self.name}")


class Simple(Type):
    """A string or a boolean."""

    def __init__(self, kind: type, name: str) -> None:
        self._kind = kind
        self.name = name

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not self._kind:
            raise self.refuse(path)
        return value


class Integer(Type):
    """A 64-bit integer with a sign."""

    name = "integer"

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not int or not -INT64_MAX - 1 <= value <= INT64_MAX:
            raise self.refuse(path)
        return value


class Unsigned(Type):
    """An unsigned 64-bit integer; a negative number is taken by its bits."""

    name = "uint64"

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not int or not -INT64_MAX - 1 <= value <= _UINT64_MAX:
            raise ArgumentError(f"Parameter '{path}' expects {self.name}")
        return value & _UINT64_MAX


class Choice(Type):
    """One of some strings."""

    name = "string"

    def __init__(self, *values: str) -> None:
        self._values = values

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not str:
            raise self.refuse(path)
        if value not in self._values:
            raise ArgumentError(f"Parameter '{path}' does not accept value '{value}'")
        return value


class Either(Type):
    """A value of one of two types, whichever its JSON type fits. name: of the alternate in the schema."""

    def __init__(self, name: str, kinds: Mapping[type, Type]) -> None:
        self.name = name
        self._kinds = kinds

    def check(self, value: Any, path: str) -> Any:
        kind = self._kinds.get(type(value))
        if kind is None:
            raise self.refuse(path)
        return kind.check(value, path)


class ListOf(Type):
    """A list whose elements are of one type."""

    name = "array"

    def __init__(self, element: Type) -> None:
        self._element = element

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not list:
            raise self.refuse(path)
        return [self._element.check(element, f"{path}[{number}]") for number, element in enumerate(value)]


class Struct(Type):
    """An object with declared members."""

    name = "object"

    def __init__(self, *members: Parameter) -> None:
        self._members = members

    def check(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise self.refuse(path)
        return bind_members(self._members, value, f"{path}.")


STRING = Simple(str, "string")
BOOLEAN = Simple(bool, "boolean")
INTEGER = Integer()
UNSIGNED = Unsigned()


class Parameter:
    """A member of the arguments. name: as on the wire. optional: it may be left out; handlers see None then."""

    __slots__ = ("keyword", "name", "optional", "type")

    def __init__(self, name: str, type: Type, *, optional: bool = False) -> None:
        self.name = name
        self.keyword = name.replace("-", "_")
        self.type = type
        self.optional = optional


def bind_members(members: tuple[Parameter, ...], given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the value of each member by its name, None for one that is left out. Raises ArgumentError."""
    bound: dict[str, Any] = {}
    for member in members:
        if member.name in given:
            bound[member.name] = member.type.check(given[member.name], prefix + member.name)
        elif member.optional:
            bound[member.name] = None
        else:
            raise ArgumentError(f"Parameter '{prefix}{member.name}' is missing")
    for name in given:
        if name not in bound:
            raise ArgumentError(f"Parameter '{prefix}{name}' is unexpected")
    return bound


class GuestCommand(Command):
    """A command of the QEMU Guest Agent.

    parameters: its arguments; handlers get them with underscores for dashes. governed_by: the commands
    of the Phoenix dialect that do the same: a policy that forbids one of them forbids this one too.
    answers: whether success is answered at all. All else is as in `Command`.
    """

    __slots__ = ("answers", "governed_by", "parameters")

    def __init__(
        self,
        name: str,
        handler: str,
        help: str,
        *,
        parameters: tuple[Parameter, ...] = (),
        governed_by: tuple[str, ...] = (),
        answers: bool = True,
        changes: bool | tuple[str, str | tuple[str, ...]] = False,
        while_frozen: bool = False,
        inline: bool = False,
        nowait: str = "",
        urgent: bool = False,
        handle: str = "",
        revocable: bool = False,
        revokes: bool = False,
        full_access: bool = False,
    ) -> None:
        super().__init__(
            name,
            help,
            handler=handler,
            changes=changes,
            while_frozen=while_frozen,
            inline=inline,
            nowait=nowait,
            urgent=urgent,
            handle=handle,
            revocable=revocable,
            revokes=revokes,
            full_access=full_access,
        )
        self.parameters = parameters
        self.takes_arguments = bool(parameters)
        self.governed_by = governed_by
        self.answers = answers

    @property
    def policy_names(self) -> tuple[str, ...]:
        return (self.name, *self.governed_by)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every argument by name. Raises ArgumentError."""
        if not (given or self.parameters):
            return {}
        bound = bind_members(self.parameters, given)
        return {parameter.keyword: bound[parameter.name] for parameter in self.parameters}
