"""`phoenixctl guests`, and names wherever a guest is wanted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.cli.conftest import Run
from tests.support import AgentProcess

FEW = ("--timeout", "1")


@pytest.fixture
def host(agent: AgentProcess, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a host with three guests: one answers, one is silent and one is gone."""
    silent = tmp_path / "silent.sock"
    (tmp_path / "phoenix").mkdir()
    (tmp_path / "phoenix" / "config.toml").write_text(
        f'sources = []\n[guests]\nweb1 = "{agent.socket_path}"\n'
        f'silent = "unix:{silent}"\ngone = "unix:{tmp_path}/gone.sock"\n'
        '[groups]\nfront = ["web1"]\n'
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        listener.listen(64)
        yield {"XDG_CONFIG_HOME": str(tmp_path)}


def test_all_are_listed_with_how_they_are(run: Run, host: dict[str, str]) -> None:
    result = run(*FEW, "guests", **host)
    assert result.returncode == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert lines["name"][:2] == ["state", "agent"]
    assert lines["web1"][:3] == ["answers", "phoenix", __version__]
    assert (lines["silent"][0], lines["gone"][0]) == ("silent", "gone")
    assert lines["web1"][-1] == "configuration"


def test_those_that_are_named_are_listed_and_have_to_answer(run: Run, host: dict[str, str]) -> None:
    for words, status in ((["@front"], 0), (["web1", "gone"], 1), (["web*,silent"], 1), (["nobody"], 2)):
        assert run(*FEW, "guests", *words, **host).returncode == status, words


def test_a_program_gets_a_line_of_json_for_each(run: Run, host: dict[str, str]) -> None:
    result = run(*FEW, "--json", "guests", **host)
    by_name = {each["name"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert {"web1", "silent", "gone"} <= set(by_name)
    web1 = by_name["web1"]
    assert (web1["state"], web1["dialect"], web1["version"]) == ("answers", "phoenix", __version__)
    assert isinstance(web1["uptime"], int)
    assert by_name["gone"]["detail"].endswith("is this the path of its port?")
    assert by_name["silent"]["version"] is None


def test_names_alone_are_for_scripts(run: Run, host: dict[str, str]) -> None:
    assert {"gone", "silent", "web1"} <= set(run("guests", "-q", **host).stdout.split())


def test_a_guest_is_called_by_its_name(run: Run, host: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    assert run("ping", "-c", "1", "web1", **host).returncode == 0
    assert run("cat", f"web1:{tmp_path}/file", **host).stdout == "content\n"
    assert run("cp", f"web1:{tmp_path}/file", tmp_path / "copy", **host).returncode == 0
    assert (tmp_path / "copy").read_text() == "content\n"


def test_an_unknown_name_is_wrong_usage_and_says_where_to_look(run: Run, host: dict[str, str]) -> None:
    result = run("ping", "web2", **host)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "phoenixctl: no guest is named 'web2'; list the guests with: phoenixctl guests\n"


def test_a_broken_configuration_is_said_to_be_so(run: Run, host: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "phoenix" / "config.toml").write_text("[guests]\nweb1 = 1\n")
    result = run("guests", **host)
    assert result.returncode == 2
    assert result.stderr.startswith(f"phoenixctl: {tmp_path}/phoenix/config.toml: guest 'web1' needs an endpoint")
    assert result.stderr.count("\n") == 1


def test_tcp_is_taken_only_where_it_is_asked_for(run: Run) -> None:
    refused = run("ping", "-c", "1", "tcp:127.0.0.1:1")
    assert (refused.returncode, "--allow-tcp" in refused.stderr) == (2, True)
    assert run("--allow-tcp", "ping", "-c", "1", "tcp:127.0.0.1:1").returncode == 125


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("phoenixctl ping we", ["web1"]),
        ("phoenixctl ping @", ["@front"]),
        ("phoenixctl ping gone,si", ["gone,silent"]),
        ("phoenixctl cat web", ["web1:/"]),
        ("phoenixctl guests go", ["gone"]),
    ],
)
def test_names_are_completed(run: Run, host: dict[str, str], line: str, expected: list[str]) -> None:
    result = run(COMP_LINE=line, _PHOENIXCTL_COMPLETE="bash_complete", **host)
    assert [line.partition(",")[2] for line in result.stdout.splitlines()] == expected


def serve_frozen(listener: socket.socket) -> None:
    """Be the agent of a frozen guest, which refuses most commands, to one client after the other."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    request = json.loads(line.strip(b"\xff"))
                    mark = b"\xff" if request["execute"] == "guest-sync-delimited" else b""
                    known = {**request.get("arguments", {}), "status": "frozen"}
                    member = "status" if request["execute"] == "guest-fsfreeze-status" else "id"
                    answer = {"return": known[member]} if member in known else {"error": {"desc": "frozen"}}
                    connection.sendall(mark + json.dumps({**answer, **tag_of(request)}).encode() + b"\n")


def tag_of(request: dict[str, object]) -> dict[str, object]:
    return {"tag": request["tag"]} if "tag" in request else {}


def test_a_frozen_guest_is_shown_as_such(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "frozen.sock"))
        listener.listen()
        threading.Thread(target=serve_frozen, args=(listener,), daemon=True).start()
        endpoint = f"unix:{tmp_path}/frozen.sock"
        assert run("guests", endpoint).stdout.splitlines()[1].split()[1] == "frozen"
        shown = json.loads(run("--json", "guests", endpoint).stdout)
        assert (shown["state"], shown["frozen"]) == ("answers", True)
        listener.shutdown(socket.SHUT_RDWR)
