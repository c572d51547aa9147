"""One option: its declaration, and the text of its values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ConfigError(ValueError):
    """The command line or the config file is invalid; the text says where and why."""


class Option:
    """An option.

    Args:
        name: the key in the config file and, after dashes, the name on the command line.
        default: its type is the option's type; a tuple is a list.
        metavar: the placeholder of its value in the help text.
        short: a one-letter flag.
        minimum: of a number.
        repeated: on the command line, a list takes one item each time, because a path may contain a comma.
    """

    __slots__ = ("default", "help", "metavar", "minimum", "name", "repeated", "short")

    def __init__(
        self,
        name: str,
        default: bool | int | str | tuple[str, ...],
        metavar: str,
        help: str,
        *,
        short: str = "",
        minimum: int = 1,
        repeated: bool = False,
    ) -> None:
        self.name = name
        self.default = default
        self.metavar = metavar
        self.help = help
        self.short = short
        self.minimum = minimum
        self.repeated = repeated

    @property
    def attribute(self) -> str:
        """Its name as an attribute of Config."""
        return self.name.replace("-", "_")

    def parse(self, text: str) -> Any:
        """Return the value of `text`. Raises ConfigError."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "yes", "on", "1"):
                return True
            if text.lower() in ("false", "no", "off", "0"):
                return False
            raise ConfigError(f"{self.name} must be true or false, not {text!r}")
        if isinstance(self.default, int):
            try:
                value = int(text)
            except ValueError:
                raise ConfigError(f"{self.name} must be a whole number, not {text!r}") from None
            if value < self.minimum:
                raise ConfigError(f"{self.name} must be at least {self.minimum}, not {value}")
            return value
        return split_list(text) if isinstance(self.default, tuple) else text

    def format(self, value: Any) -> str:
        """Return the text that `parse` accepts for `value`."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return ", ".join(value) if isinstance(value, tuple) else str(value)


def split_list(text: str) -> tuple[str, ...]:
    """Return the items of a list, separated by commas or semicolons."""
    return tuple(part.strip() for part in text.replace(";", ",").split(",") if part.strip())
