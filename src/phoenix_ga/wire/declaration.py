"""How a command is declared, and the argument checks that follow from a declaration.

The agent checks requests with it; the reference, the completion and the policy names are
derived from it. Imported in the guest, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

INT64_MAX: Final = 2**63 - 1

TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    list: "array of strings",
    dict: "object of strings",
}


class ArgumentError(ValueError):
    """The arguments of a request do not fit the declaration of its command."""


class Argument:
    """One argument of a command.

    name: as on the wire. kind: `str`, `int`, `bool`, or `list` or `dict` of `str`. help: its meaning and unit.
    required: it has no default. default: what an absent one means. minimum, maximum: of an
    integer, inclusive. choices: the values allowed.
    """

    __slots__ = ("choices", "default", "help", "kind", "maximum", "minimum", "name", "required")

    def __init__(
        self,
        name: str,
        kind: type,
        help: str,
        *,
        default: str | int | bool | list[str] | dict[str, str] | None = None,
        minimum: int = 0,
        maximum: int = INT64_MAX,
        choices: tuple[str | int, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.default = default
        self.required = default is None
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices

    def check(self, value: Any) -> None:
        """Raise ArgumentError where `value` is not one that this argument takes."""
        # JSON has no integer type of its own: `true` is no number here, and neither is 1.0.
        kind: type = type(value)
        if kind is not self.kind:
            raise ArgumentError(f"argument '{self.name}' must be a{_article(self.kind)}")
        if self.choices and value not in self.choices:
            allowed = ", ".join(repr(choice) for choice in self.choices)
            raise ArgumentError(f"argument '{self.name}' must be one of {allowed}")
        if self.kind is int and not self.minimum <= value <= self.maximum:
            raise ArgumentError(f"argument '{self.name}' must be from {self.minimum} to {self.maximum}")
        if self.kind is str:
            self._check_text(value)
        elif self.kind is list or self.kind is dict:
            for text in value:
                self._check_text(text)
                if self.kind is dict:
                    self._check_text(value[text])

    def _check_text(self, text: Any) -> None:
        if type(text) is not str:
            raise ArgumentError(f"argument '{self.name}' must be a{_article(self.kind)}")
        if "\0" in text:
            raise ArgumentError(f"argument '{self.name}' must not hold a NUL character")


class Example:
    """A request of the command and its answer, for the reference and for the tests that run it.

    arguments: of the request. answer: what `return` holds. exact: the answer is always this very
    value; otherwise it tells the shape (the same members and types). opens: a file that is opened
    for reading first, whose handle the request uses.
    """

    __slots__ = ("answer", "arguments", "exact", "opens")

    def __init__(self, arguments: dict[str, Any], answer: Any, *, exact: bool = True, opens: str = "") -> None:
        self.arguments = arguments
        self.answer = answer
        self.exact = exact
        self.opens = opens


class Command:
    """One command of the agent: everything there is to know of it but its code.

    handler: "module:function" below the dialect's package. returns: the answer, in words.
    changes: whether it changes the guest (audit log, read-only policy), or the pair of an
    argument and the value, or the values, with which it does. while_frozen: it cannot touch a frozen filesystem.
    inline: it never blocks, so the loop itself runs it. nowait: the function beside the handler that the loop runs
    instead, by the rule of the agent's core/nowait.py. answers: its success is answered.
    urgent: it gets a thread of its own at once, however many commands are stuck. handle: the argument that
    names a file handle, on which requests run in order. errors: errno name and when, beyond those that
    every command has.
    """

    __slots__ = (
        "aliases",
        "arguments",
        "changes",
        "errors",
        "examples",
        "handle",
        "handler",
        "help",
        "inline",
        "name",
        "nowait",
        "returns",
        "takes_arguments",
        "urgent",
        "while_frozen",
    )
    answers = True
    # A client that leaves, or a thaw that comes later, revokes the call: its handler gets `revoked`, to ask.
    revocable = False
    revokes = False

    def __init__(
        self,
        name: str,
        handler: str,
        help: str,
        *,
        arguments: tuple[Argument, ...] = (),
        returns: str = "`true`.",
        errors: tuple[tuple[str, str], ...] = (),
        examples: tuple[Example, ...] = (),
        aliases: tuple[str, ...] = (),
        changes: bool | tuple[str, str | tuple[str, ...]] = False,
        while_frozen: bool = False,
        inline: bool = False,
        nowait: str = "",
        urgent: bool = False,
        handle: str = "",
    ) -> None:
        self.name = name
        self.handler = handler
        self.help = help
        self.arguments = arguments
        self.takes_arguments = bool(arguments)
        self.returns = returns
        self.errors = errors
        self.examples = examples
        self.aliases = aliases
        self.changes = changes
        self.while_frozen = while_frozen
        self.inline = inline
        self.nowait = nowait
        self.urgent = urgent
        self.handle = handle

    @property
    def policy_names(self) -> tuple[str, ...]:
        """The names that a policy may use for it."""
        return (self.name, *self.aliases)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every argument by name, defaults filled in.

        Raises ArgumentError on one that is missing, unknown or of the wrong type or range.
        """
        bound: dict[str, Any] = {}
        for argument in self.arguments:
            if argument.name in given:
                value = given[argument.name]
                argument.check(value)
                bound[argument.name] = value
            elif argument.required:
                raise ArgumentError(f"argument '{argument.name}' is missing")
            else:
                bound[argument.name] = argument.default
        if len(given) > len(bound) or not bound.keys() >= given.keys():
            unknown = next(name for name in given if name not in bound)
            takes = ", ".join(argument.name for argument in self.arguments) or "none"
            raise ArgumentError(f"argument '{unknown}' is unknown; {self.name} takes: {takes}")
        return bound

    def changes_guest(self, bound: Mapping[str, Any]) -> bool:
        """Tell whether this call, with `bound` arguments, changes the guest."""
        if isinstance(self.changes, tuple):
            name, values = self.changes
            return bound[name] in (values if isinstance(values, tuple) else (values,))
        return self.changes


def _article(kind: type) -> str:
    name = TYPE_NAMES[kind]
    return f"n {name}" if name[0] in "aeiou" else f" {name}"
