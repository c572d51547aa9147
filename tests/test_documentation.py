"""What the pages say is what the code does: links, options, the man page, and the examples of the protocol."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from phoenix_ga import __version__
from phoenix_ga.agent.config import read_config_file
from phoenix_ga.agent.options.option import Option
from phoenix_ga.agent.options.table import CONFIG_PATH, OPTIONS
from phoenix_ga.wire.commands import BY_NAME
from phoenix_ga.wire.frames import DATA, END
from phoenix_ga.wire.units import Frame, Parser, resync_padding
from tests.ends.client import RefusedError
from tests.support import AgentProcess

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
MAN_PAGE = ROOT / "packaging" / "phoenix-ga.8"
MAN_PAGES = (MAN_PAGE, *(ROOT / "packaging" / name for name in ("phoenixctl.1", "phoenix-hub.8")))
OPERATING = (ROOT / "docs" / "operating.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
CONFIGS = re.findall(r"```ini\n(.*?)```", OPERATING, re.DOTALL)

_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[(?:[^]`]|`[^`]*`)*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_ROW = re.compile(r"^\| `(\{.*|\[.*|\w+)` \| (-?\d+) \| `(.*)` \|$", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Markdown renderer makes of the headings of a page."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def plain(roff: str) -> str:
    """Return the text of a piece of a man page, on one line."""
    words = []
    for line in roff.splitlines():
        if line.startswith('.\\"'):
            continue
        macro = re.match(r"\.(\w+) ?", line)
        if macro is None:
            words.append(line)
            continue
        # Macros of two alternating letters join their arguments; quotes hold an argument together.
        arguments = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', line[macro.end() :])]
        words.append(("" if macro[1] in ("BR", "RB", "BI", "IB", "IR", "RI") else " ").join(arguments))
    text = re.sub(r"\\f[BIRP]", "", " ".join(words)).replace("\\-", "-")
    return " ".join(text.split())


def paragraphs() -> dict[str, str]:
    """Return what the man page says of each option, by its long name; the flags come first."""
    section = re.search(r"^\.SH OPTIONS$(.*?)^\.SH ", MAN_PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None
    found = {}
    for paragraph in section[1].split("\n.TP\n")[1:]:
        text = plain(paragraph)
        name = re.search(r"--([\w-]+)", text)
        assert name is not None, text
        found[name[1]] = text
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_man_page_says_of_each_option_what_its_declaration_says(option: Option) -> None:
    text = paragraphs()[option.name]
    flags = f"-{option.short}, --{option.name}" if option.short else f"--{option.name}"
    assert text.startswith(f"{flags} {option.metavar}".strip() + " ")
    assert option.help in text
    default = option.format(option.default)
    if default:
        assert f"Default: {default}." in text


def test_the_man_page_has_no_option_that_is_not_there() -> None:
    actions = {
        "dump-config",
        "install",
        "profile",
        "replace-qemu-ga",
        "uninstall",
        "clean-up",
        "self-test",
        "json",
        "version",
        "help",
    }
    assert set(paragraphs()) == {option.name for option in OPTIONS} | actions | {"config"}
    assert CONFIG_PATH in paragraphs()["config"]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_page_for_operators_has_each_option_with_its_default(option: Option) -> None:
    default = option.format(option.default)
    cell = f" `{default}` " if default else " "
    assert f"\n| `{option.name}` |{cell}| " in OPERATING


@pytest.mark.parametrize("text", CONFIGS, ids=range(len(CONFIGS)))
def test_each_config_file_of_the_page_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "phoenix-ga.conf"
    path.write_text(text)
    options = read_config_file(str(path), required=True)
    for pattern in (*options.get("allow", ()), *options.get("block", ())):
        assert any(fnmatchcase(name, pattern) for name in BY_NAME), f"{pattern} matches no command"


@pytest.mark.parametrize("page", MAN_PAGES, ids=name_of)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["groff", "-man", "-Tutf8", "-z", "-ww"], marks=pytest.mark.programs("groff"), id="groff"),
        pytest.param(
            ["man", "--warnings", "--encoding=UTF-8", "--local-file"], marks=pytest.mark.programs("man"), id="man"
        ),
    ],
)
def test_the_man_pages_are_well_formed(command: list[str], page: Path) -> None:
    # A locale that is named but not installed is a warning of its own.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    words = [*command, str(page)]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_frame_of_the_protocol_is_a_frame() -> None:
    example = re.search(r"^    (fb(?: [0-9a-f]{2})+)$", PROTOCOL, re.MULTILINE)
    assert example is not None
    parser = Parser()
    parser.receive(bytes.fromhex(example[1]))
    unit = parser.next_unit()
    assert isinstance(unit, Frame)
    assert (unit.type, unit.stream, unit.payload) == (1, 70007, b"hello")
    assert parser.pending == 0
    assert f"Send {len(resync_padding())} newlines" in PROTOCOL


def test_the_streams_of_the_protocol_are_made_of_frames() -> None:
    frames = re.findall(r" (fb [0-9a-f ]+?) +(DATA|END)(?: +(.*))?$", PROTOCOL, re.MULTILINE)
    assert len(frames) == 5
    for data, kind, text in frames:
        parser = Parser()
        parser.receive(bytes.fromhex(data))
        (unit,) = parser
        assert isinstance(unit, Frame)
        assert unit.type == {"DATA": DATA, "END": END}[kind]
        assert bytes(unit.payload).decode() == text.strip().strip('"')


def test_what_is_no_request_is_answered_as_the_protocol_says(tmp_path: Path) -> None:
    rows = _ROW.findall(PROTOCOL)
    assert len(rows) >= 10
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        for line, code, text in rows:
            client.send(line.encode() + b"\n")
            error = RefusedError(client.answer())
            assert (error.code, error.text) == (int(code), text), line


def test_the_first_look_at_the_protocol_is_what_happens(tmp_path: Path) -> None:
    example = re.search(r'^    (\{"execute": "ping", .*)\n    (\{"return": .*)$', PROTOCOL, re.MULTILINE)
    assert example is not None
    with AgentProcess(tmp_path) as agent, agent.connect() as client:
        client.send(example[1].encode() + b"\n")
        answer = client.answer()
    documented = json.loads(example[2])
    assert answer.keys() == documented.keys()
    assert answer["tag"] == documented["tag"]


def test_the_client_of_the_protocol_works(tmp_path: Path) -> None:
    program = re.search(r"```python\n(.*?)```", PROTOCOL, re.DOTALL)
    assert program is not None
    assert "/run/web1.sock" in program[1]
    with AgentProcess(tmp_path) as agent:
        source = program[1].replace("/run/web1.sock", str(agent.socket_path))
        result = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=True
        )
    assert result.stdout == f"{__version__}\nTrue\n"


@pytest.mark.programs("socat")
def test_socat_gets_an_answer_as_the_protocol_says(tmp_path: Path) -> None:
    command = re.search(r"^    \$ (echo .* \| socat .*)\n    (.*)$", PROTOCOL, re.MULTILINE)
    assert command is not None
    with AgentProcess(tmp_path) as agent:
        line = command[1].replace("/run/web1.sock", str(agent.socket_path))
        result = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(result.stdout).keys() == json.loads(command[2]).keys()
