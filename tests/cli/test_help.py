"""The list of verbs by job, and the topics of help."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from phoenix_ga.cli.program import program
from phoenix_ga.cli.topics import JOBS, NOTES
from tests.cli.conftest import Run
from tests.support import SOURCE

VERBS = program.load_all()


def test_each_verb_is_listed_once_under_a_job(run: Run) -> None:
    text = run("--help").stdout
    listed = re.findall(r"^  ([a-z][a-z0-9-]+)  +[A-Z]", text.partition("Options:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)
    assert all(f"\n{job.title}:\n" in text for job in JOBS)
    assert run("help").stdout == text


def test_a_topic_is_no_verb_and_has_one_place() -> None:
    names = [*(job.name for job in JOBS), *(note.name for note in NOTES), "topics"]
    assert len(set(names)) == len(names)
    assert not set(names) & set(VERBS)
    placed = [name for job in JOBS for name in job.verbs]
    assert len(set(placed)) == len(placed)


def explain(name: str) -> str:
    return CliRunner().invoke(program, ["help", name]).output


def test_the_topics_are_listed_and_explained(run: Run) -> None:
    text = run("help", "topics").stdout
    for job in JOBS:
        assert f"  {job.name}  " in text
        explained = explain(job.name)
        assert all(f"\n  {name}" in explained for name in job.verbs if name in VERBS), job.name
    for note in NOTES:
        assert f"  {note.name}  " in text
        assert explain(note.name).strip()
        assert explain(note.name).strip() in note.text


@pytest.mark.parametrize("name", ["cp", "freeze-status"])
def test_a_verb_is_explained_as_it_explains_itself(run: Run, name: str) -> None:
    assert run("help", name).stdout == run(name, "--help").stdout


def test_what_is_neither_is_told(run: Run) -> None:
    result = run("help", "nonsense")
    assert (result.returncode, "help topics" in result.stderr) == (2, True)


def jobs() -> list[str]:
    """Return the commands of phoenixctl in docs/jobs.md."""
    text = (SOURCE.parent / "docs" / "jobs.md").read_text()
    return re.findall(r"^\| [^`|]* \| `([^`]+)` \|", text, re.MULTILINE)


def test_each_job_is_an_example_that_is_typed_in_a_guest() -> None:
    examples = {
        line for verb in VERBS.values() for line in re.findall(r"^  \$ (.*)$", verb.epilog or "", re.MULTILINE)
    }
    assert len(jobs()) >= 60
    assert [line for line in jobs() if line not in examples] == []
