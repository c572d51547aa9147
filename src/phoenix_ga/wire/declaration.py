"""Declare a command, and check the arguments of a request against its declaration.

The guest imports this module, so it imports nothing itself.
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
    """The arguments of a request do not match the declaration of its command."""


class Argument:
    """One argument of a command.

    Args:
        name: Name on the wire.
        kind: `str`, `int`, `bool`, or `list` or `dict` of `str`.
        help: Meaning and unit.
        default: Value of an absent argument; None: the argument is required.
        minimum, maximum: Inclusive range of an integer.
        choices: Allowed values; empty: all.
        words: Strings that are allowed besides values of `kind`.
        python: Parameter of the client's method and of the operation, if it is not `name`.
    """

    __slots__ = ("choices", "default", "help", "kind", "maximum", "minimum", "name", "python", "required", "words")

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
        words: tuple[str, ...] = (),
        python: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.default = default
        self.required = default is None
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.words = words
        self.python = python or name

    def check(self, value: Any) -> None:
        """Raise ArgumentError if `value` has the wrong type or is out of range."""
        # Nothing is converted: neither `true` nor 1.0 is an integer.
        kind: type = type(value)
        if self.words and kind is str:
            if value not in self.words:
                raise ArgumentError(f"argument '{self.name}' must be one of {', '.join(map(repr, self.words))}")
            return
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
            raise ArgumentError(f"argument '{self.name}' must not contain a NUL character")


class Example:
    """An example request and its answer. The reference shows it, and the tests run it.

    Args:
        arguments: Arguments of the request.
        answer: Value of `return`.
        exact: The answer is always equal to `answer`; otherwise, only members and types are the same.
        opens: File to open for reading first; the request uses its handle.
    """

    __slots__ = ("answer", "arguments", "exact", "opens")

    def __init__(self, arguments: dict[str, Any], answer: Any, *, exact: bool = True, opens: str = "") -> None:
        self.arguments = arguments
        self.answer = answer
        self.exact = exact
        self.opens = opens


class StreamMember:
    """A stream that the answer of a command opens.

    Args:
        name: Member of the answer that holds the stream's number.
        sends: The client sends on it; the answer's member `window` is its first credit.
        ends_both: END of the agent ends both directions.
        announces: Its data are lines that announce further streams, as those of `listen`.
    """

    __slots__ = ("announces", "ends_both", "name", "sends")

    def __init__(self, name: str, *, sends: bool = False, ends_both: bool = False, announces: bool = False) -> None:
        self.name = name
        self.sends = sends
        self.ends_both = ends_both
        self.announces = announces


class Command:
    """The declaration of a command: all of it but its code.

    Exactly one of `operation` and `handler` is given, as "module:function".

    Args:
        help: What it does. The first sentence is its summary.
        operation: Function below `phoenix_ga.agent.operations`. It is called with the arguments under their
            Python names. Its result is the answer; None is answered with `true`.
        handler: Function below the dialect's package. It is called with the context, and the arguments under
            their wire names.
        method: The client's generated method: "group.name", or "name" for a method of `Guest`. Empty: the
            method is written by hand.
        result: Return type of that method, in Python.
        returns: The answer, in words.
        errors: Errno names and their causes, in addition to the errors that all commands share.
        aliases: Deprecated names.
        changes: Whether it changes the guest, for the audit log and read-only policies; or an argument and the
            value, or values, with which it does.
        while_frozen: It cannot touch a frozen filesystem.
        inline: It never blocks, so it runs on the event loop.
        nowait: Function in the handler's module that the event loop runs instead, see the agent's core/nowait.py.
        urgent: It gets a thread of its own, however many commands are stuck.
        handle: Argument that holds a file handle; requests on one handle run in order.
        revocable: It is called off if its client leaves, or if a command that `revokes` begins, before it has
            finished. The handler gets `revoked`, which returns whether that has happened.
        revokes: It calls off all such requests; if its argument `request` is a tag, only its client's with this tag.
        streams: The streams that its answer opens.
        full_access: Whoever may use it can read the guest's secrets or take over the guest.
    """

    __slots__ = (
        "aliases",
        "arguments",
        "changes",
        "errors",
        "examples",
        "full_access",
        "handle",
        "handler",
        "help",
        "inline",
        "method",
        "name",
        "nowait",
        "operation",
        "result",
        "returns",
        "revocable",
        "revokes",
        "streams",
        "takes_arguments",
        "urgent",
        "while_frozen",
    )
    # Whether success is answered.
    answers = True

    def __init__(
        self,
        name: str,
        help: str,
        *,
        handler: str = "",
        operation: str = "",
        method: str = "",
        result: str = "",
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
        revocable: bool = False,
        revokes: bool = False,
        streams: tuple[StreamMember, ...] = (),
        full_access: bool = False,
    ) -> None:
        self.name = name
        self.help = help
        self.handler = handler
        self.operation = operation
        self.method = method
        self.result = result
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
        self.revocable = revocable
        self.revokes = revokes
        self.streams = streams
        self.full_access = full_access

    @property
    def policy_names(self) -> tuple[str, ...]:
        """Names of the command in a policy."""
        return (self.name, *self.aliases)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each argument by its wire name.

        Raises:
            ArgumentError: if an argument is missing, unknown, of the wrong type or out of range.
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
        """Return whether a call with these arguments changes the guest."""
        if isinstance(self.changes, tuple):
            name, values = self.changes
            return bound[name] in (values if isinstance(values, tuple) else (values,))
        return self.changes


def _article(kind: type) -> str:
    name = TYPE_NAMES[kind]
    return f"n {name}" if name[0] in "aeiou" else f" {name}"
