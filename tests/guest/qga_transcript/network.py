"""Interfaces and routes."""

from __future__ import annotations

from tests.guest.qga_transcript import Row

ROWS: tuple[Row, ...] = (
    Row("network get interfaces", '{"execute": "guest-network-get-interfaces"}', masked=("0/return/*/statistics/*",)),
    Row(
        "network get interfaces with empty arguments",
        '{"execute": "guest-network-get-interfaces", "arguments": {}}',
        masked=("0/return/*/statistics/*",),
    ),
    Row(
        "network get interfaces with an argument",
        '{"execute": "guest-network-get-interfaces", "arguments": {"x": 1}}',
    ),
    Row(
        "network get interfaces with a list of arguments",
        '{"execute": "guest-network-get-interfaces", "arguments": []}',
    ),
    Row("network get route", '{"execute": "guest-network-get-route"}', differs="newer"),
    Row(
        "network get route with empty arguments",
        '{"execute": "guest-network-get-route", "arguments": {}}',
        differs="newer",
    ),
    Row(
        "network get route with an argument",
        '{"execute": "guest-network-get-route", "arguments": {"x": 1}}',
        differs="newer",
    ),
    Row("network get route with a list of arguments", '{"execute": "guest-network-get-route", "arguments": []}'),
)
