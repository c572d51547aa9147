"""What the system is, its clock and its load."""

from __future__ import annotations

from tests.guest.qga_transcript import Row

ROWS: tuple[Row, ...] = (
    Row("get osinfo", '{"execute": "guest-get-osinfo"}'),
    Row("get osinfo with empty arguments", '{"execute": "guest-get-osinfo", "arguments": {}}'),
    Row("get osinfo with an argument", '{"execute": "guest-get-osinfo", "arguments": {"x": 1}}'),
    Row("get osinfo with a list of arguments", '{"execute": "guest-get-osinfo", "arguments": []}'),
    Row("get host name", '{"execute": "guest-get-host-name"}'),
    Row("get host name with empty arguments", '{"execute": "guest-get-host-name", "arguments": {}}'),
    Row("get host name with an argument", '{"execute": "guest-get-host-name", "arguments": {"x": 1}}'),
    Row("get host name with a list of arguments", '{"execute": "guest-get-host-name", "arguments": []}'),
    Row("get timezone", '{"execute": "guest-get-timezone"}'),
    Row("get timezone with empty arguments", '{"execute": "guest-get-timezone", "arguments": {}}'),
    Row("get timezone with an argument", '{"execute": "guest-get-timezone", "arguments": {"x": 1}}'),
    Row("get timezone with a list of arguments", '{"execute": "guest-get-timezone", "arguments": []}'),
    Row("get time", '{"execute": "guest-get-time"}', masked=("0/return",)),
    Row("get time with empty arguments", '{"execute": "guest-get-time", "arguments": {}}', masked=("0/return",)),
    Row("get time with an argument", '{"execute": "guest-get-time", "arguments": {"x": 1}}'),
    Row("get time with a list of arguments", '{"execute": "guest-get-time", "arguments": []}'),
    Row("set time with text", '{"execute": "guest-set-time", "arguments": {"time": "x"}}'),
    Row("set time with a float", '{"execute": "guest-set-time", "arguments": {"time": 1.5}}'),
    Row("set time with more", '{"execute": "guest-set-time", "arguments": {"time": 1, "x": 2}}'),
    Row("set time to before all time", '{"execute": "guest-set-time", "arguments": {"time": -9223372036854775808}}'),
    Row("set time to just before the epoch", '{"execute": "guest-set-time", "arguments": {"time": -1}}'),
    Row("set time to 2070", '{"execute": "guest-set-time", "arguments": {"time": 3155760000000000000}}'),
    Row("set time to after all time", '{"execute": "guest-set-time", "arguments": {"time": 9223372036854775807}}'),
    Row("get load", '{"execute": "guest-get-load"}', differs="newer"),
    Row("get load with empty arguments", '{"execute": "guest-get-load", "arguments": {}}', differs="newer"),
    Row("get load with an argument", '{"execute": "guest-get-load", "arguments": {"x": 1}}', differs="newer"),
    Row("get load with a list of arguments", '{"execute": "guest-get-load", "arguments": []}'),
    Row("shutdown in an unknown way", '{"execute": "guest-shutdown", "arguments": {"mode": "foo"}}'),
    Row("shutdown with a number", '{"execute": "guest-shutdown", "arguments": {"mode": 1}}'),
    Row("shutdown with more", '{"execute": "guest-shutdown", "arguments": {"mode": "halt", "x": 1}}'),
    Row("suspend to disk with an argument", '{"execute": "guest-suspend-disk", "arguments": {"x": 1}}'),
    Row("suspend to ram with an argument", '{"execute": "guest-suspend-ram", "arguments": {"x": 1}}'),
    Row("hybrid suspend with an argument", '{"execute": "guest-suspend-hybrid", "arguments": {"x": 1}}'),
)
