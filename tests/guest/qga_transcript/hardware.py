"""Processors and memory."""

from __future__ import annotations

from tests.guest.qga_transcript import Row

ROWS: tuple[Row, ...] = (
    Row("get vcpus", '{"execute": "guest-get-vcpus"}', differs="processor-order"),
    Row(
        "get vcpus with empty arguments", '{"execute": "guest-get-vcpus", "arguments": {}}', differs="processor-order"
    ),
    Row("get vcpus with an argument", '{"execute": "guest-get-vcpus", "arguments": {"x": 1}}'),
    Row("get vcpus with a list of arguments", '{"execute": "guest-get-vcpus", "arguments": []}'),
    Row("set no processors", '{"execute": "guest-set-vcpus", "arguments": {"vcpus": []}}'),
    Row(
        "set one that is not there",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 99, "online": true}]}}',
    ),
    Row(
        "set the first one online",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 0, "online": true}]}}',
    ),
    Row(
        "set the first one offline",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 0, "online": false}]}}',
    ),
    Row(
        "set one that is there and one that is not",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": '
        '[{"logical-id": 0, "online": true, "can-offline": true}, {"logical-id": 99, "online": true}]}}',
    ),
    Row(
        "set one with a negative number",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": -1, "online": true}]}}',
    ),
    Row(
        "set one with text for a number",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": "0", "online": true}]}}',
    ),
    Row("set processors without a list", '{"execute": "guest-set-vcpus"}'),
    Row("set processors with a number", '{"execute": "guest-set-vcpus", "arguments": {"vcpus": 5}}'),
    Row("set processors with a list of numbers", '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [5]}}'),
    Row(
        "set a processor without a state",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 0}]}}',
    ),
    Row(
        "set a processor to a number",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 0, "online": 1}]}}',
    ),
    Row(
        "set a processor with more",
        '{"execute": "guest-set-vcpus", "arguments": {"vcpus": [{"logical-id": 0, "online": true, "x": 1}]}}',
    ),
    Row("get memory blocks", '{"execute": "guest-get-memory-blocks"}', masked=("0/return",)),
    Row(
        "get memory blocks with empty arguments",
        '{"execute": "guest-get-memory-blocks", "arguments": {}}',
        masked=("0/return",),
    ),
    Row("get memory blocks with an argument", '{"execute": "guest-get-memory-blocks", "arguments": {"x": 1}}'),
    Row("get memory blocks with a list of arguments", '{"execute": "guest-get-memory-blocks", "arguments": []}'),
    Row("set no memory", '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": []}}'),
    Row(
        "set memory that is not there",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"phys-index": 99999, "online": true}]}}',
    ),
    Row(
        "set memory that is online",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"phys-index": 0, "online": true}]}}',
    ),
    Row(
        "set memory with the highest number",
        '{"execute": "guest-set-memory-blocks", "arguments": '
        '{"mem-blks": [{"phys-index": 18446744073709551615, "online": true}]}}',
    ),
    Row(
        "set memory with a negative number",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"phys-index": -1, "online": true}]}}',
    ),
    Row(
        "set memory with a number that is too high",
        '{"execute": "guest-set-memory-blocks", "arguments": '
        '{"mem-blks": [{"phys-index": 18446744073709551616, "online": true}]}}',
    ),
    Row(
        "set memory with text for a number",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"phys-index": "0", "online": true}]}}',
    ),
    Row(
        # The kernel has to keep it.
        "set the first memory offline",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"phys-index": 0, "online": false}]}}',
    ),
    Row("set memory without a list", '{"execute": "guest-set-memory-blocks"}'),
    Row("set memory with text", '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": "x"}}'),
    Row(
        "set memory without a number",
        '{"execute": "guest-set-memory-blocks", "arguments": {"mem-blks": [{"online": true}]}}',
    ),
    Row("get memory block info", '{"execute": "guest-get-memory-block-info"}'),
    Row("get memory block info with empty arguments", '{"execute": "guest-get-memory-block-info", "arguments": {}}'),
    Row(
        "get memory block info with an argument", '{"execute": "guest-get-memory-block-info", "arguments": {"x": 1}}'
    ),
    Row(
        "get memory block info with a list of arguments",
        '{"execute": "guest-get-memory-block-info", "arguments": []}',
    ),
    Row("get cpustats", '{"execute": "guest-get-cpustats"}', masked=("0/return/*/*",)),
    Row(
        "get cpustats with empty arguments",
        '{"execute": "guest-get-cpustats", "arguments": {}}',
        masked=("0/return/*/*",),
    ),
    Row("get cpustats with an argument", '{"execute": "guest-get-cpustats", "arguments": {"x": 1}}'),
    Row("get cpustats with a list of arguments", '{"execute": "guest-get-cpustats", "arguments": []}'),
)
