"""The modules of the Ansible collection that run phoenixctl, with the real ansible-playbook."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga import __version__
from tests.cli.test_frozen import FreezingAgent
from tests.cli.test_snapshot import Emulator
from tests.ends.agent import ScriptedAgent
from tests.integrations.ansible import Controller, recap
from tests.support import AgentProcess

pytestmark = pytest.mark.timeout(300)

WAIT = """
- hosts: all
  gather_facts: false
  tasks:
    - phoenix.guest.wait:
    - phoenix.guest.wait:
        conditions: ["path={{ playbook_dir }}", exec=echo ready]
      register: waited
    - ansible.builtin.assert:
        that:
          - waited.found["path=" ~ playbook_dir] == playbook_dir
          - waited.found["exec=echo ready"] == "ready"
    - phoenix.guest.wait: {conditions: [path=/nowhere/at/all], timeout: 1}
      register: late
      failed_when: "'not fulfilled within 1 s' not in late.msg"
    - phoenix.guest.wait: {conditions: [path=/nowhere/at/all]}
      check_mode: true
    - phoenix.guest.wait: {conditions: [full-moon]}
      register: unknown
      failed_when: "'full-moon' not in unknown.msg"
"""
DEPLOY = """
- hosts: all
  gather_facts: false
  tasks:
    - phoenix.guest.deploy: {agent: "{{ archive }}"}
      check_mode: "{{ checked }}"
      register: deployed
    - ansible.builtin.assert: {that: deployed.version == version}
    - phoenix.guest.deploy: {agent: /nowhere.pyz}
      register: missing
      failed_when: "'/nowhere.pyz' not in missing.msg"
"""
SNAPSHOT = """
- hosts: all
  gather_facts: false
  tasks:
    - phoenix.guest.snapshot: &snapshot
        {kind: external, directory: "{{ playbook_dir }}", name: n, qmp: "{{ qmp }}", disks: [qcow]}
      check_mode: true
      register: checked
    - ansible.builtin.stat: {path: "{{ playbook_dir }}/n.json"}
      delegate_to: localhost
      vars: {ansible_connection: local}
      register: file
    - ansible.builtin.assert: {that: [checked is changed, not file.stat.exists]}
    - phoenix.guest.snapshot: *snapshot
      register: made
    - phoenix.guest.snapshot: *snapshot
      register: again
    - ansible.builtin.assert:
        that: [made is changed, made.snapshot.verdict == "consistent", again is not changed]
    - ansible.builtin.assert: {that: again.snapshot == made.snapshot}
    - phoenix.guest.snapshot: {kind: backup, directory: "{{ playbook_dir }}", name: n, qmp: "{{ qmp }}"}
      register: other
      failed_when: "'is another snapshot' not in other.msg"
"""


def play(controller: Controller, text: str, *words: str) -> dict[str, int]:
    """Run a playbook, and return the counts of its only host."""
    (controller.directory / "play.yml").write_text(text)
    (counts,) = recap(controller.run("ansible-playbook", "-i", "phoenix.yml", *words, "play.yml")).values()
    return counts


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    """A controller of one agent of this machine."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "controller").mkdir()
    with AgentProcess(tmp_path / "agent") as agent:
        yield Controller(tmp_path / "controller", {"web1": f"unix:{agent.socket_path}"})


def test_waiting_changes_nothing(controller: Controller) -> None:
    counts = play(controller, WAIT)
    assert (counts["changed"], counts["skipped"], counts["failed"]) == (0, 1, 0)


@pytest.mark.parametrize(("version", "changed"), [(__version__, 0), ("9.9", 1)])
def test_only_another_version_of_the_agent_is_replaced(controller: Controller, version: str, changed: int) -> None:
    archive = controller.directory / "phoenix-ga.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("source/phoenix_ga/__init__.py", f"__version__ = {version!r}\n")
    words = ("-e", f"archive={archive}", "-e", f"version={version}", "-e", f"checked={bool(changed)}")
    assert play(controller, DEPLOY, *words)["changed"] == changed


@pytest.mark.programs("qemu-img", "qemu-system-x86_64")
def test_a_snapshot_with_a_name_is_made_once(tmp_path: Path) -> None:
    agent = FreezingAgent("a")
    (tmp_path / "qemu").mkdir()
    emulator = Emulator(tmp_path / "qemu")
    answers = {
        "fs-freeze": agent.fs_freeze,
        "fs-unfreeze": agent.fs_unfreeze,
        "get-freeze-status": agent.get_freeze_status,
        "ping": __version__,
    }
    for name in ("agent", "controller"):
        (tmp_path / name).mkdir()
    try:
        with ScriptedAgent(tmp_path / "agent") as script:
            script.answers.update(answers)
            controller = Controller(tmp_path / "controller", {"web1": script.endpoint})
            counts = play(controller, SNAPSHOT, "-e", f"qmp={emulator.path}")
            # In check mode, and once.
            assert (counts["changed"], counts["failed"]) == (2, 0)
            manifest = json.loads((controller.directory / "n.json").read_text())
            assert list(manifest["guests"]) == ["web1"]
            assert emulator.files()["qcow"] == str(controller.directory / "n-web1-qcow.qcow2")
            assert agent.thaws == [agent.generation]
    finally:
        emulator.close()
