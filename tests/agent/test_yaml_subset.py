"""The reader of network configurations, beside PyYAML: what it reads is the same, or it says that it does not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from phoenix_ga.agent.operations.network_files.yaml_subset import parse_yaml

CONFIG = """\
# From cloud-init's documentation
network:
  version: 2
  ethernets:
    interface0:
      match: {macaddress: "52:54:00:12:34:00", name: 'ens*'}   # quoted
      set-name: interface0
      addresses:
      - 192.168.1.10/24
      - "2001:db8::1/64"
      routes:
        - to: 0.0.0.0/0
          via: 192.168.1.254
          metric: 3
        -
          to: default
          via: "fe80::1"
      nameservers:
        search: [foo.local, bar.local]
        addresses: [8.8.8.8, '2001:4860:4860::8888']
      dhcp4: false
      wakeonlan: True
      empty:
    "eth 1": {}
"""
texts = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**12) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def test_a_configuration() -> None:
    assert parse_yaml(CONFIG) == yaml.safe_load(CONFIG)
    assert parse_yaml("---\na: 1\n") == {"a": 1}
    assert parse_yaml("") is parse_yaml("# nothing\n") is None


def test_an_address_of_hardware_is_a_text() -> None:
    # YAML 1.1 takes this one for a number of base 60.
    assert parse_yaml("mac: 52:54:00:12:34:56") == {"mac": "52:54:00:12:34:56"}
    assert parse_yaml("a: 010\nb: 10\nc: 1.5\nd: yes") == {"a": "010", "b": 10, "c": "1.5", "d": "yes"}


@given(values)
def test_json_is_read(value: Any) -> None:
    assert parse_yaml(json.dumps(value, indent=2)) == value


@given(st.dictionaries(texts, values, max_size=4))
def test_what_pyyaml_writes_is_read_or_refused(value: dict[str, Any]) -> None:
    for style in (False, None):
        text = yaml.safe_dump(value, default_flow_style=style, width=10_000)
        try:
            found = parse_yaml(text)
        except OSError:
            continue
        assert found == value, text


@given(st.text("ab1:-#'\"[]{}, \n&*!|>\\\t", max_size=60))
def test_any_text_is_read_as_pyyaml_reads_it_or_refused(text: str) -> None:
    try:
        found = parse_yaml(text)
    except OSError:
        return
    # Numbers of base 60 are texts, and JSON may be followed by a tab.
    assume(not re.search("[0-9]:[0-9]", text) and "\t" not in text)
    try:
        assert json.dumps(found) == json.dumps(yaml.safe_load(text))
    except yaml.YAMLError:
        pytest.fail(f"PyYAML refuses {text!r}, which is read as {found!r}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1", "line 1: '&x 1' is not understood"),
        ("a: 1\nb: *x", "line 2"),
        ("a: |\n  text", "line 1"),
        ("a: 1\n\tb: 2", "line 2: a tab: use spaces"),
        ("a: 1\n---\nb: 2", "line 2: only one document"),
        ("a: 1\n  b: 2", "line 2: the indentation"),
        ("a: 1\na: 2", "line 2: 'a' is there twice"),
        ("a: [1,\n  2]", "line 1: expected `,` or `]`"),
        ("a: {b}", "line 1: expected `key: value`"),
        ('a: "x', "line 1: the quotation does not end"),
        ("a: b: c", "line 1: a mapping within a line"),
        ("a: 'b' c", "line 1"),
        ("- " * 100 + "x", "too deep"),
        ("a: " + "[" * 100, "too deep"),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_the_line(text: str, why: str) -> None:
    with pytest.raises(OSError, match="line") as caught:
        parse_yaml(text)
    assert why in (caught.value.strerror or "")
