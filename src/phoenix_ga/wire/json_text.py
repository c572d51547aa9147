"""Decode and encode JSON, with limits that protect against a hostile peer.

The C accelerator of the standard `json` module is used directly, because its Python part imports `re` and `enum`,
which take a sixth of an idle agent's memory. Without the accelerator, the whole module is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# Python converts long integers in quadratic time, and no command needs them.
_DIGITS_MAX: Final = 400
# Decoded elements can take a thousand times the memory of the line, and no request needs more.
ELEMENTS_MAX: Final = 100_000
_WHITE: Final = " \t\r\n"


class JsonError(ValueError):
    """A text is not JSON, or exceeds a limit."""


def _parse_integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise JsonError(f"number of {len(digits)} digits; the limit is {_DIGITS_MAX}")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise JsonError(f"number {digits[:20]} is out of range")
    return value


def _refuse_constant(name: str) -> float:
    raise JsonError(f"{name} is not JSON")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise JsonError(f"member {name[:40]!r} is there twice")
            seen.add(name)
    return members


def _refuse_value(value: object) -> object:
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


class _Context:
    """The attributes of a decoder that the C scanner reads."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_make_object)
    parse_int: Callable[[str], int] = staticmethod(_parse_integer)
    parse_float = staticmethod(_parse_float)
    parse_constant = staticmethod(_refuse_constant)
    memo: Final[dict[str, str]] = {}


class _ShortContext(_Context):
    """For texts too short to hold a number that is too long."""

    parse_int = int


if TYPE_CHECKING:
    _scan: Callable[[str, int], tuple[Any, int]]
    _scan_short: Callable[[str, int], tuple[Any, int]]
    _encode: Callable[[Any, int], tuple[str, ...]]
    # Returns a text as a JSON string in ASCII.
    encode_string: Callable[[str], str]
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner

        _scan = make_scanner(_Context())
        _scan_short = make_scanner(_ShortContext())
        encode_string = encode_basestring_ascii
        _encode = make_encoder(None, _refuse_value, encode_basestring_ascii, None, ": ", ", ", False, False, False)
    except (ImportError, TypeError):
        from json import JSONDecoder, JSONEncoder

        _scan = JSONDecoder(
            object_pairs_hook=_make_object,
            parse_int=_parse_integer,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        ).scan_once
        _scan_short = _scan

        def _encode(value, level, encoder=JSONEncoder(allow_nan=False)):  # noqa: B008
            return (encoder.encode(value),)

        def encode_string(text):
            return JSONEncoder().encode(text)


def encode_json(value: Any) -> bytes:
    """Return `value` as JSON text in ASCII."""
    return "".join(_encode(value, 0)).encode("ascii")


def decode_json(line: bytes, elements_max: int = ELEMENTS_MAX) -> Any:
    """Return the value of a JSON text.

    Raises:
        JsonError: if the text is not UTF-8, not JSON, nested too deeply, or has a duplicate member, a number out
            of range, or more than `elements_max` commas.
    """
    if len(line) > elements_max and line.count(b",") > elements_max:
        raise JsonError(f"JSON has more than {elements_max} elements")
    try:
        text = line.decode("utf-8").strip(_WHITE)
        try:
            value, end = _scan_short(text, 0) if len(text) <= _DIGITS_MAX else _scan(text, 0)
        except SystemError:
            # The scanner of Python 3.9 to 3.11 needs this module to report an error, but does not import it.
            import json.decoder  # noqa: F401

            value, end = _scan(text, 0)
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise JsonError("JSON is nested too deeply") from None
    except StopIteration as error:
        raise JsonError(f"not JSON: no value at character {error.value}") from None
    except ValueError as error:
        raise JsonError(f"not JSON: {error}") from None
    if end != len(text):
        raise JsonError(f"not JSON: something follows at character {end}")
    return value
