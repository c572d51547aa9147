"""The netlink conversation: what the kernel may say, what it never would, and who else may speak."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ga.agent.linux import netlink, rtnetlink
from phoenix_ga.agent.linux.netlink import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    NLMSGERR_ATTR_MSG,
    attribute,
    attributes,
)

PORT = 4711
KERNEL = (0, 0)
STRANGER = (4712, 0)
GET, NEW = rtnetlink.RTM_GETROUTE, rtnetlink.RTM_NEWROUTE
WORDS = attribute(NLMSGERR_ATTR_MSG, b"Nexthop has invalid gateway\0")


class Datagram(NamedTuple):
    data: bytes
    sender: tuple[int, int] = KERNEL
    flags: int = 0


class ScriptedKernel:
    """A netlink socket whose other end says what the test gave it, and then nothing."""

    def __init__(self, script: Sequence[bytes | Datagram]) -> None:
        self.script = [Datagram(item) if isinstance(item, bytes) else item for item in script]
        self.sent: list[bytes] = []
        self.closed = False

    def getsockname(self) -> tuple[int, int]:
        return PORT, 0

    def send(self, data: bytes, /) -> int:
        self.sent.append(data)
        return len(data)

    def recvmsg(self, size: int, /) -> tuple[bytes, object, int, tuple[int, int]]:
        if not self.script:
            raise socket.timeout
        datagram = self.script.pop(0)
        return datagram.data, [], datagram.flags, datagram.sender

    def close(self) -> None:
        self.closed = True


def message(kind: int, payload: bytes = b"", *, flags: int = 0, sequence: int = 1, port: int = PORT) -> bytes:
    header = struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, port)
    return header + payload + bytes(-len(payload) % 4)


def acknowledgement(code: int = 0, *, request: bytes = b"", words: bytes = b"", flags: int = 0) -> bytes:
    copied = struct.pack("=IHHII", 16 + len(request), NEW, 0, 1, PORT) + request + bytes(-len(request) % 4)
    return message(NLMSG_ERROR, struct.pack("=i", -code) + copied + words, flags=flags)


def done(code: int = 0, words: bytes = b"", *, flags: int = 0) -> bytes:
    return message(NLMSG_DONE, struct.pack("=i", -code) + words, flags=flags)


def confirm(*script: bytes | Datagram) -> None:
    netlink.confirm(ScriptedKernel(script), NEW, 0, b"")


def collect(*script: bytes | Datagram) -> list[bytes] | None:
    return netlink.collect(ScriptedKernel(script), GET, NEW, b"")


def test_an_acknowledged_request_is_done() -> None:
    confirm(acknowledgement())


@pytest.mark.parametrize(
    ("request_copied", "flags"),
    [
        pytest.param(b"", NLM_F_ACK_TLVS | NLM_F_CAPPED, id="request-left-out"),
        pytest.param(b"x" * 37, NLM_F_ACK_TLVS, id="request-copied"),
    ],
)
def test_the_kernels_errno_and_words_reach_the_caller(request_copied: bytes, flags: int) -> None:
    with pytest.raises(
        OSError, match=r"^\[Errno 101\] Network is unreachable \(Nexthop has invalid gateway\)$"
    ) as caught:
        confirm(acknowledgement(errno.ENETUNREACH, request=request_copied, words=WORDS, flags=flags))
    assert caught.value.errno == errno.ENETUNREACH


def test_a_kernel_without_words_is_explained_by_its_errno() -> None:
    with pytest.raises(OSError, match=r"Network is unreachable$"):
        confirm(acknowledgement(errno.ENETUNREACH))


def test_a_dump_is_put_together_from_many_datagrams() -> None:
    pieces = [message(NEW, b"one") + message(NEW, b"two!"), message(NEW, b"three"), done()]
    assert collect(*pieces) == [b"one", b"two!", b"three"]


def test_a_dump_that_fails_half_way_is_an_error() -> None:
    with pytest.raises(OSError, match="Nexthop") as caught:
        collect(message(NEW, b"one"), done(errno.EINVAL, WORDS, flags=NLM_F_ACK_TLVS))
    assert caught.value.errno == errno.EINVAL


def test_a_dump_that_is_refused_is_an_error() -> None:
    with pytest.raises(OSError, match="not supported") as caught:
        collect(acknowledgement(errno.EOPNOTSUPP))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_what_does_not_come_from_the_kernel_is_passed_over() -> None:
    forged = acknowledgement(errno.EPERM)
    confirm(Datagram(forged, STRANGER), acknowledgement())
    with pytest.raises(OSError, match="File exists"):
        confirm(Datagram(acknowledgement(), STRANGER), acknowledgement(errno.EEXIST))
    assert collect(Datagram(message(NEW, b"forged"), STRANGER), message(NEW, b"true"), done()) == [b"true"]


def test_answers_to_other_requests_or_ports_are_passed_over() -> None:
    other = [message(NEW, b"old", sequence=7), message(NEW, b"other", port=PORT + 1), message(NEW + 4, b"kind")]
    assert collect(*other, message(NEW, b"true"), done()) == [b"true"]


def test_a_kernel_that_says_nothing_is_not_waited_for() -> None:
    with pytest.raises(OSError, match="did not answer within") as caught:
        confirm()
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_datagram_larger_than_the_buffer_is_an_error() -> None:
    with pytest.raises(OSError, match="more than") as caught:
        collect(Datagram(message(NEW, b"one"), flags=socket.MSG_TRUNC))
    assert caught.value.errno == errno.EMSGSIZE


def served(monkeypatch: pytest.MonkeyPatch, *scripts: list[bytes]) -> list[ScriptedKernel]:
    """Let netlink.dump meet one scripted kernel after the other, the last one again and again."""
    kernels: list[ScriptedKernel] = []

    def connect() -> ScriptedKernel:
        kernels.append(ScriptedKernel(scripts[min(len(kernels), len(scripts) - 1)]))
        return kernels[-1]

    monkeypatch.setattr(netlink, "_connect", connect)
    return kernels


def test_a_dump_during_which_something_changed_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = [message(NEW, b"half", flags=NLM_F_DUMP_INTR), done()]
    interrupted_at_the_end = [message(NEW, b"half"), done(flags=NLM_F_DUMP_INTR)]
    overrun = [message(NEW, b"half"), message(NLMSG_OVERRUN)]
    kernels = served(monkeypatch, interrupted, interrupted_at_the_end, overrun, [message(NEW, b"all"), done()])
    assert netlink.dump(GET, NEW, b"") == [b"all"]
    assert [kernel.closed for kernel in kernels] == [True] * 4


def test_a_dump_that_never_settles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = served(monkeypatch, [message(NEW, b"half", flags=NLM_F_DUMP_INTR), done()])
    with pytest.raises(OSError, match="kept changing") as caught:
        netlink.dump(GET, NEW, b"")
    assert caught.value.errno == errno.EAGAIN
    assert all(kernel.closed for kernel in kernels)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0", id="no-header"),
        pytest.param(message(NEW, b"payload")[:-4], id="longer-than-the-datagram"),
        pytest.param(struct.pack("=IHHII", 0, NEW, 0, 1, PORT), id="length-zero"),
        pytest.param(struct.pack("=IHHII", 15, NEW, 0, 1, PORT), id="shorter-than-its-header"),
        pytest.param(message(NLMSG_ERROR, b"\xff\xff"), id="error-without-errno"),
        pytest.param(message(NLMSG_DONE, b""), id="end-without-errno"),
    ],
)
def test_a_message_that_is_cut_short_is_an_error_and_no_loop(data: bytes) -> None:
    with pytest.raises(OSError, match="cut short") as caught:
        collect(data)
    assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize("data", [b"\0\0\1\0", b"\3\0\1\0", b"\5\0\1\0", attribute(1, b"ab") + b"\xff\xff\2\0"])
def test_an_attribute_that_is_cut_short_is_an_error_and_no_loop(data: bytes) -> None:
    with pytest.raises(OSError, match="cut short") as caught:
        attributes(data)
    assert caught.value.errno == errno.EBADMSG


@given(st.dictionaries(st.integers(0, netlink.NLA_TYPE_MASK), st.binary(max_size=40), max_size=10), st.binary())
def test_attributes_read_back_as_they_were_written(values: dict[int, bytes], before: bytes) -> None:
    data = before + b"".join(attribute(kind, value) for kind, value in values.items())
    assert attributes(data, len(before)) == values


kinds = st.sampled_from([NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN, NEW])
flags = st.sampled_from([0, NLM_F_ACK_TLVS, NLM_F_ACK_TLVS | NLM_F_CAPPED])
noise = st.one_of(
    st.binary(max_size=120),
    st.builds(lambda kind, payload, flags: message(kind, payload, flags=flags), kinds, st.binary(max_size=60), flags),
)


@given(st.lists(noise, max_size=4))
def test_no_bytes_do_more_harm_than_an_error(datagrams: list[bytes]) -> None:
    for speak in (confirm, collect):
        with suppress(OSError):
            speak(*datagrams)


# A route with all that is decoded, to be damaged.
ROUTE = (
    struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0)
    + attribute(rtnetlink.RTA_DST, bytes((198, 51, 100, 0)))
    + attribute(
        rtnetlink.RTA_MULTIPATH,
        (struct.pack("=HBBi", 16, 0, 0, 3) + attribute(rtnetlink.RTA_GATEWAY, bytes((192, 0, 2, 1)))) * 2,
    )
)


@given(
    st.lists(st.tuples(st.integers(0, len(ROUTE) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(ROUTE))
)
def test_a_damaged_message_does_no_more_harm_than_an_error(damage: list[tuple[int, int]], length: int) -> None:
    data = bytearray(ROUTE)
    for position, value in damage:
        data[position] = value
    payload = bytes(data[:length])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtnetlink, "dump", lambda *_: [payload])
        for decode in (lambda: rtnetlink.routes(2), rtnetlink.links, rtnetlink.addresses):
            with suppress(OSError):
                decode()


def test_a_next_hop_without_length_is_an_error_and_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = ROUTE.replace(struct.pack("=HBBi", 16, 0, 0, 3), struct.pack("=HBBi", 0, 0, 0, 3), 1)
    monkeypatch.setattr(rtnetlink, "dump", lambda *_: [damaged])
    with pytest.raises(OSError, match="cut short"):
        rtnetlink.routes(2)


@pytest.mark.root
def test_another_process_cannot_answer_in_the_kernels_place() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    connection = netlink._connect()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_ROUTE) as stranger:
        port = connection.getsockname()[0]
        forged = struct.pack("=IHHIIi", 36, NLMSG_ERROR, 0, 1, port, 0) + bytes(16)
        stranger.sendto(forged, (port, 0))
        # Interface 2147483647 is not there, whatever the forged acknowledgement says.
        with pytest.raises(OSError, match="No such device"):
            netlink.confirm(connection, rtnetlink.RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, 2**31 - 1, 0, 1))
    connection.close()
