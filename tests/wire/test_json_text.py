"""JSON without the standard module's Python half: the same values, and an error for all else."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.wire.json_text import JsonError, decode_json, encode_json
from tests.support import SOURCE

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@given(values)
def test_values_survive_the_way_there_and_back(value: Any) -> None:
    assert decode_json(encode_json(value)) == value == json.loads(encode_json(value))


@given(values)
def test_what_the_standard_module_writes_is_read(value: Any) -> None:
    assert decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@given(st.binary())
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value = decode_json(data)
    except JsonError:
        return
    assert value == json.loads(data)


@given(st.text(alphabet='{}[]",:0123456789.-+eE truefalsn\\u'))
def test_json_like_text_is_judged_as_the_standard_module_does(text: str) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(JsonError):
            decode_json(text.encode())
        return
    if isinstance(expected, float) and not math.isfinite(expected):
        return
    assert decode_json(text.encode()) == expected


def test_lone_surrogates_stand_for_bytes_of_file_names() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert encode_json(name) == b'"caf\\udce9"'
    assert decode_json(b'"caf\\udce9"').encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_the_standard_module_is_loaded_for_errors_only() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from phoenix_ga.wire.messages import *; "
        "from phoenix_ga.wire.json_text import *; decode_json(encode_json({'a': [1, 2.5, None, 'x']})); "
        "print('json' in sys.modules, 're' in sys.modules)\n"
        'try: decode_json(b\'{"a": "\\x03"}\')\n'
        "except JsonError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first == "False False"
    assert second == "not JSON: Invalid control character at: line 1 column 8 (char 7)"


def test_values_that_json_lacks_are_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode_json(value)
    with pytest.raises(TypeError, match="bytes cannot be encoded as JSON"):
        encode_json(b"x")
