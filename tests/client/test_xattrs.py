"""Extended attributes of copies: kept if they are asked for, told if not, and never what a guest must not choose."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    CommandError,
    MockTransport,
    ProtocolError,
    Transferred,
    TransferredTree,
    connect,
    copy_between,
    copy_tree_between,
)
from phoenix_ga.trees.headers import FILE
from phoenix_ga.trees.members import Member
from tests.client.conftest import Talk
from tests.client.test_hostile_trees import MARK, answer
from tests.client.test_transfer import data, end, sent
from tests.support import AgentProcess
from tests.xattrs import CAPABILITY, OF_ROOT, OF_USERS, attributes, set_all

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]
CAPABILITIES = {"security.capability": CAPABILITY}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    source = tmp_path / "tree" / "source"
    source.write_text("content")
    set_all(source, OF_USERS, OF_ROOT)
    return source


#: What a direction and an option keep.
KEPT: list[tuple[str, Any, dict[str, bytes]]] = [
    ("get", False, {}),
    ("get", True, OF_USERS),
    ("get", "all", OF_USERS | OF_ROOT),
    ("put", False, {}),
    ("put", True, OF_USERS | CAPABILITIES),
    ("put", "all", OF_USERS | OF_ROOT),
]
NOTES = {
    ("get", False): "extended attributes left out (security.capability, ",
    ("put", False): "extended attributes left out (security.capability, ",
    ("get", True): "security.capability left out",
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(("method", "xattrs", "kept"), KEPT)
def test_of_a_file(
    talk: Talk,
    endpoint: str,
    tmp_path: Path,
    source: Path,
    method: str,
    xattrs: Any,
    kept: dict[str, bytes],
    resume: bool,
) -> None:
    copied = talk(endpoint, method, str(source), str(tmp_path / "copy"), xattrs=xattrs, resume=resume)
    assert attributes(tmp_path / "copy") == kept
    assert [note[: len(NOTES[method, xattrs])] for note in copied.notes] == (
        [NOTES[method, xattrs]] if (method, xattrs) in NOTES else []
    )
    if xattrs:
        assert (tmp_path / "copy").stat().st_mode == source.stat().st_mode


@pytest.mark.parametrize(("method", "xattrs", "kept"), KEPT)
def test_of_a_tree(
    talk: Talk, endpoint: str, tmp_path: Path, source: Path, method: str, xattrs: Any, kept: dict[str, bytes]
) -> None:
    copied = talk(endpoint, f"{method}_tree", str(source.parent), str(tmp_path / "copy"), xattrs=xattrs)
    assert attributes(tmp_path / "copy" / "source") == kept
    assert len(copied.notes) == ((method, xattrs) in NOTES)


@pytest.mark.parametrize(("xattrs", "kept"), [(False, {}), (True, OF_USERS), ("all", OF_USERS | OF_ROOT)])
def test_between_guests(endpoint: str, tmp_path: Path, source: Path, xattrs: Any, kept: dict[str, bytes]) -> None:
    async def copy(other: str) -> tuple[Transferred, TransferredTree]:
        async with connect(endpoint) as here, connect(other) as there:
            return (
                await copy_between(here, str(source), there, str(tmp_path / "copy"), xattrs=xattrs),
                await copy_tree_between(here, str(source.parent), there, str(tmp_path / "new"), xattrs=xattrs),
            )

    with AgentProcess(tmp_path) as other:
        file, tree = asyncio.run(copy(f"unix:{other.socket_path}"))
    assert attributes(tmp_path / "copy") == attributes(tmp_path / "new" / "source") == kept
    assert len(file.notes) == len(tree.notes) == (xattrs != "all")


def test_a_file_that_is_replaced_keeps_its_own_besides(
    talk: Talk, endpoint: str, tmp_path: Path, source: Path
) -> None:
    for method in ("get", "put"):
        target = tmp_path / method
        target.write_text("old")
        set_all(target, {"user.comment": b"old", "user.own": b"mine"}, CAPABILITIES)
        talk(endpoint, method, str(source), str(target), xattrs="all", preserve=True)
        assert attributes(target) == OF_USERS | OF_ROOT | {"user.own": b"mine"}


@pytest.mark.parametrize(
    "odd",
    [
        {"system.evil": ""},
        {"user.a\0b": ""},
        {"user." + "n" * 300: ""},
        {"user.a": "not base64"},
        {"user.a": 5},
        {"user.\ud800": ""},
        {f"user.{number}": "" for number in range(300)},
        {"user.big": base64.b64encode(bytes(70_000)).decode()},
        ["user.a"],
    ],
)
def test_a_guest_that_sends_what_no_file_has(talk: Talk, tmp_path: Path, odd: Any) -> None:
    transport = MockTransport({"file-get": sent(data(b"x"), end(size=1), size=1, xattrs=odd)})
    with pytest.raises(ProtocolError):
        talk(transport, "get", "/f", str(tmp_path / "f"), xattrs="all", verify=False)
    assert list(tmp_path.iterdir()) == []


def test_a_guest_chooses_no_privileges_unless_it_is_allowed_to(talk: Talk, tmp_path: Path) -> None:
    evil = {name: base64.b64encode(value).decode() for name, value in (OF_ROOT | {"user.a": b"1"}).items()}
    file = sent(data(b"x"), end(size=1), size=1, xattrs=evil)
    member = Member(b"f", FILE, attributes={name.encode(): value for name, value in OF_ROOT.items()})
    scripts = {"file-get": file, "directory-get": answer(member.header() + MARK)}
    for xattrs in (False, True):
        talk(MockTransport(scripts), "get", "/f", str(tmp_path / "f"), xattrs=xattrs, verify=False)
        assert attributes(tmp_path / "f") == ({"user.a": b"1"} if xattrs else {})
        talk(MockTransport(scripts), "get_tree", "/d", tmp_path / "d", xattrs=xattrs)
        assert attributes(tmp_path / "d" / "f") == {}


def test_an_attribute_that_cannot_be_set_leaves_no_file(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    odd = {"security.capability": base64.b64encode(b"not one").decode()}
    transport = MockTransport({"file-get": sent(data(b"x"), end(size=1), size=1, xattrs=odd)})
    with pytest.raises(OSError, match=r"cannot set the extended attribute security\.capability") as caught:
        talk(transport, "get", "/f", str(tmp_path / "f"), xattrs="all", verify=False)
    assert (caught.value.filename, list(tmp_path.glob("f*"))) == (str(tmp_path / "f"), [])


@pytest.mark.parametrize("odd", [{b"system.evil": b""}, {b"user.big": bytes(70_000)}])
def test_an_agent_refuses_what_no_file_has(
    talk: Talk, endpoint: str, tmp_path: Path, odd: dict[bytes, bytes]
) -> None:
    with pytest.raises(CommandError, match="extended attribute"):
        talk(endpoint, "files.put_stream", str(tmp_path / "f"), xattrs=odd)
    assert not (tmp_path / "f").exists()
