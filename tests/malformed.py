"""Requests that are wrong, each with the error that tells so: held against any running agent."""

from __future__ import annotations

import json

EINVAL = 22
EMSGSIZE = 90
EBADMSG = 74

Case = tuple[str, bytes, int, str]


def line(text: str) -> bytes:
    return text.encode() + b"\n"


def call(execute: str, **arguments: object) -> bytes:
    return json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n"


# What it is, the bytes, the code and a part of the text of the answer.
CASES: list[Case] = [
    ("a word", line("hello"), -1, "not JSON"),
    ("a number", line("1"), -1, "must be a JSON object"),
    ("a string", line('"ping"'), -1, "must be a JSON object"),
    ("null", line("null"), -1, "must be a JSON object"),
    ("true", line("true"), -1, "must be a JSON object"),
    ("a list", line("[]"), -1, "must be a JSON object"),
    ("a list of requests", line('[{"execute": "ping"}]'), -1, "must be a JSON object"),
    ("an empty object", line("{}"), -1, "no member 'execute'"),
    ("a brace", line("{"), -1, "not JSON"),
    ("a closing brace", line("}"), -1, "not JSON"),
    ("cut short in a name", line('{"exec'), -1, "not JSON"),
    ("cut short in a value", line('{"execute": "ping'), -1, "not JSON"),
    ("cut short before the end", line('{"execute": "ping"'), -1, "not JSON"),
    ("two values in brackets", line('[{"execute": "ping"} {"execute": "ping"}]'), -1, "not JSON"),
    ("a comma too many", line('{"execute": "ping",}'), -1, "not JSON"),
    ("single quotes", line("{'execute': 'ping'}"), -1, "not JSON"),
    ("a comment", line('{"execute": /* hello */ "ping"}'), -1, "not JSON"),
    ("execute is missing", line('{"tag": "x"}'), -1, "no member 'execute'"),
    ("execute is null", line('{"execute": null}'), -1, "no member 'execute'"),
    ("execute is a number", line('{"execute": 1}'), -1, "'execute' must be a string"),
    ("execute is a list", line('{"execute": ["ping"]}'), -1, "'execute' must be a string"),
    ("execute is an object", line('{"execute": {"ping": 1}}'), -1, "'execute' must be a string"),
    ("execute is empty", line('{"execute": ""}'), -1, "no command ''"),
    ("an unknown command", line('{"execute": "nonsense"}'), -1, "no command 'nonsense'"),
    ("a command in capitals", line('{"execute": "PING"}'), -1, "no command 'PING'"),
    ("a command with a space", line('{"execute": "ping "}'), -1, "no command 'ping '"),
    ("a very long command", line('{"execute": "%s"}' % ("x" * 100_000)), -1, "no command 'xxx"),
    ("arguments are a list", line('{"execute": "ping", "arguments": []}'), -1, "'arguments' must be an object"),
    ("arguments are a string", line('{"execute": "ping", "arguments": "x"}'), -1, "'arguments' must be an object"),
    ("arguments are false", line('{"execute": "ping", "arguments": false}'), -1, "'arguments' must be an object"),
    ("an unknown member", line('{"execute": "ping", "argumets": {}}'), -1, "unknown member 'argumets'"),
    ("a member twice", line('{"execute": "ping", "execute": "ping"}'), -1, "member 'execute' is there twice"),
    ("an argument twice", line('{"execute": "ping", "arguments": {"a": 1, "a": 2}}'), -1, "'a' is there twice"),
    ("an argument that ping lacks", call("ping", x=1), EINVAL, "argument 'x' is unknown"),
    ("an argument that is missing", call("file-open"), EINVAL, "argument 'path' is missing"),
    ("one of two is missing", call("ipaddr-add", ip="192.0.2.1/24"), EINVAL, "argument 'ifname' is missing"),
    ("an unknown one beside the right", call("file-open", path="/x", flags=1), EINVAL, "argument 'flags' is unknown"),
    ("a number for a string", call("file-open", path=1), EINVAL, "argument 'path' must be a string"),
    ("null for a string", call("file-open", path=None), EINVAL, "argument 'path' must be a string"),
    ("a list for a string", call("file-open", path=["/x"]), EINVAL, "argument 'path' must be a string"),
    ("a string for a number", call("file-read", handle_id="1"), EINVAL, "argument 'handle_id' must be an integer"),
    ("a fraction for a number", call("file-read", handle_id=1.5), EINVAL, "must be an integer"),
    ("a whole fraction for a number", call("file-read", handle_id=1.0), EINVAL, "must be an integer"),
    ("true for a number", call("file-read", handle_id=True), EINVAL, "must be an integer"),
    ("a number for a boolean", call("file-open", path="/x", force=1), EINVAL, "argument 'force' must be a boolean"),
    ("a string for a boolean", call("file-open", path="/x", force="no"), EINVAL, "must be a boolean"),
    ("a negative handle", call("file-read", handle_id=-1), EINVAL, "must be from 0 to"),
    ("a count of nothing", call("file-read", handle_id=1, count=0), EINVAL, "'count' must be from 1 to 4194304"),
    ("a count too large", call("file-read", handle_id=1, count=1 << 40), EINVAL, "'count' must be from 1 to 4194304"),
    ("an unknown mode", call("file-open", path="/x", mode="rw"), EINVAL, "'mode' must be one of 'r', 'w'"),
    ("permissions too large", call("file-chmod", path="/x", perm=0o10000), EINVAL, "'perm' must be from 0 to 4095"),
    ("an unknown family", call("get-route-list", family=3), EINVAL, "'family' must be one of 0, 2, 10"),
    (
        "a number of 400 digits",
        line('{"execute": "sync", "arguments": {"id": %s}}' % ("9" * 400)),
        EINVAL,
        "from 0 to",
    ),
    (
        "a number of a million digits",
        line('{"execute": "sync", "arguments": {"id": %s}}' % ("9" * 10**6)),
        -1,
        "digits",
    ),
    (
        "a number beyond 63 bits",
        line('{"execute": "sync", "arguments": {"id": 9223372036854775808}}'),
        EINVAL,
        "from 0",
    ),
    ("a float out of range", line('{"execute": "ping", "tag": 1e999}'), -1, "out of range"),
    ("NaN", line('{"execute": "ping", "tag": NaN}'), -1, "NaN is not JSON"),
    ("Infinity", line('{"execute": "ping", "tag": -Infinity}'), -1, "-Infinity is not JSON"),
    ("a NUL in the line", b'{"execute": "ping"\0}\n', -1, "not JSON"),
    ("a NUL in a string", b'{"execute": "pi\0ng"}\n', -1, "not JSON"),
    ("a line of NULs", b"\0" * 1000 + b"\n", -1, "not JSON"),
    ("an escaped NUL in a path", line('{"execute": "file-open", "arguments": {"path": "/\\u0000"}}'), EINVAL, "NUL"),
    ("a control character in a string", b'{"execute": "pi\x07ng"}\n', -1, "not JSON"),
    ("a bad escape", line('{"execute": "\\q"}'), -1, "not JSON"),
    (
        "a lone surrogate in a path",
        line('{"execute": "file-stat", "arguments": {"path": "/\\ud800"}}'),
        84,
        "surrogate",
    ),
    ("bytes that are not UTF-8", b'{"execute": "\xe9t\xe9"}\n', -1, "not UTF-8 at byte 13"),
    ("an overlong encoding", b'{"execute": "\xc0\xaf"}\n', -1, "not UTF-8"),
    ("an encoded surrogate", b'{"execute": "\xed\xa0\x80"}\n', -1, "not UTF-8"),
    ("a byte order mark", b'\xef\xbb\xbf{"execute": "ping"}\n', -1, "not JSON"),
    ("UTF-16", '{"execute": "ping"}'.encode("utf-16-le") + b"\n", -1, "not JSON"),
    ("0xFE", b"\xfe\n", -1, "not UTF-8"),
    ("a list nested 100,000 deep", b"[" * 100_000 + b"\n", -1, "nested too deeply"),
    ("objects nested 100,000 deep", b'{"a":' * 100_000 + b"\n", -1, "nested too deeply"),
    ("a tag nested 100,000 deep", b'{"tag": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", -1, "nested too deeply"),
    ("a million elements", b'{"tag": [' + b"0," * 1_000_000 + b"0]}\n", -1, "more than 100000 elements"),
    ("100,000 objects on a line", b"{}" * 100_000 + b"\n", -1, "more than 1000 objects on one line"),
    ("a line of 100 MiB", b"x" * (100 << 20) + b"\n", EMSGSIZE, "longer than the limit"),
    ("a string of 100 MiB", b'{"execute": "' + b"x" * (100 << 20) + b'"}\n', EMSGSIZE, "longer than the limit"),
    ("a damaged frame", b"\xfb" + b"x" * 20 + b"\n", EBADMSG, "damaged frame header"),
    ("base64 with a strange character", call("file-write", handle_id=0, bufb64="a_b="), 9, "not open"),
    ("HTTP", b"GET / HTTP/1.1\r\n", -1, "not JSON"),
    ("a shell prompt", b"root@guest:~# \n", -1, "not JSON"),
    ("a tag is kept in an error", line('{"execute": 1, "tag": "kept"}'), -1, "must be a string"),
]

# Most lines that are refused leave nothing; the longest ones may leave their pieces in the allocator.
MEMORY_MAX = 48 << 20
