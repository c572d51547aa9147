"""`phoenixctl grow`: what it prints of a plan, and what it does not send."""

from __future__ import annotations

from typing import Any

from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.ends.agent import ScriptedAgent

PLAN: dict[str, Any] = BY_NAME["storage-grow"].examples[0].answer
EVIL = "\x1b]0;owned\x07\n"


def test_a_dry_run_shows_the_commands(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["storage-grow"] = {**PLAN, "locked": ["/dev/vda2"]}
    result = run("grow", "--dry-run", scripted.endpoint)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "layer       name  size     new size  state",
        "filesystem  /     2.0 GiB  4.0 GiB   not grown",
        "$ resize2fs /dev/vda",
        "It will need the passphrase of /dev/vda2",
    ]
    assert [request.arguments["target"] for request in scripted.requests] == ["/"]
    assert all(request.arguments.get("dry_run") for request in scripted.requests)


def test_why_it_did_not_grow_is_told(run: Run, scripted: ScriptedAgent) -> None:
    for answer, told in (
        ({"refused": "in the way"}, "Nothing was changed: in the way"),
        ({"failed": "broken"}, "It was not finished: broken. Repeat it to go on from there."),
    ):
        scripted.answers["storage-grow"] = {**PLAN, **answer}
        result = run("grow", scripted.endpoint, "vda")
        assert (result.returncode, result.stdout.splitlines()[-1]) == (1, told)
    scripted.answers["storage-grow"] = {**PLAN, "steps": []}
    assert run("grow", scripted.endpoint).stdout == "/ uses all of its disk already\n"


def test_a_passphrase_comes_from_stdin_and_is_not_on_the_command_line(run: Run, scripted: ScriptedAgent) -> None:
    scripted.answers["storage-grow"] = PLAN
    assert run("grow", "--stdin", scripted.endpoint, input="secret\n").returncode == 0
    assert scripted.requests[-1].arguments["passphrase"] == "secret"


def test_what_a_hostile_guest_says_does_not_control_the_terminal(run: Run, scripted: ScriptedAgent) -> None:
    step = {"layer": EVIL, "name": EVIL, "before": -(2**63), "after": 2**63, "commands": [EVIL], "done": True}
    scripted.answers["storage-grow"] = {
        "steps": [step],
        "notes": [EVIL],
        "refused": EVIL,
        "failed": EVIL,
        "locked": [EVIL],
    }
    result = run("grow", "--dry-run", scripted.endpoint)
    assert result.stdout.replace("\n", "").isprintable()
