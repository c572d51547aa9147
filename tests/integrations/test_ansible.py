"""The Ansible collection, with the real ansible-playbook and agents of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ends.agent import ScriptedAgent
from tests.integrations.ansible import COLLECTIONS, Controller, recap
from tests.support import AgentProcess

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    site: web
  tasks:
    - ansible.builtin.setup: {gather_subset: [min]}
    - ansible.builtin.copy: {src: tree/, dest: "{{ place }}/tree/"}
    - ansible.builtin.copy: {src: blob, dest: "{{ place }}/blob", mode: "0640"}
      notify: restart
    - ansible.builtin.template: {src: site.conf.j2, dest: "{{ place }}/site.conf"}
    - ansible.builtin.lineinfile: {path: "{{ place }}/ports.conf", line: "listen 80", create: true}
    - ansible.builtin.fetch: {src: "{{ place }}/blob", dest: "fetched-{{ inventory_hostname }}", flat: true}
    - ansible.builtin.raw: printf '%s' "$((6 * 7))"
      register: answer
      changed_when: false
    - ansible.builtin.command: sleep 0.2
      async: 60
      poll: 1
      changed_when: false
    - ansible.builtin.command: id -un
      become: true
      become_user: nobody
      become_method: ansible.builtin.su
      become_flags: -s /bin/sh
      register: other
      changed_when: false
    - ansible.builtin.assert:
        that: [answer.stdout == "42", other.stdout == "nobody", ansible_facts.system == "Linux"]
    - ansible.builtin.shell: echo bad >&2; exit 3
      register: bad
      failed_when: bad.rc != 3 or bad.stderr != "bad"
      changed_when: false
    - phoenix.guest.info:
      register: described
    - ansible.builtin.assert: {that: [described.guest.os.id is defined, not described.guest.frozen]}
    - phoenix.guest.freeze: {state: thawed}
  handlers:
    - name: restart
      ansible.builtin.command: touch "{{ place }}/restarted"
"""
LOOP = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
    - ansible.builtin.file: {path: "{{ place }}/{{ inventory_hostname }}", state: directory}
      changed_when: false
    - ansible.builtin.copy:
        content: "{{ inventory_hostname }} {{ item }}"
        dest: "{{ place }}/{{ inventory_hostname }}/a-{{ item }}"
      loop: [1, 2, 3]
"""
# Asks for a password as sudo does, with the prompt that it is given.
SUDO = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
    -p) prompt=$2; shift 2 ;;
    -u) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
printf %s "$prompt" >&2
IFS= read -r password
if [ "$password" != secret ]; then echo "Sorry, try again." >&2; exit 1; fi
exec "$@"
"""


pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    directories = {name: tmp_path_factory.mktemp(name) for name in ("web1", "web2")}
    with AgentProcess(directories["web1"]) as first, AgentProcess(directories["web2"]) as second:
        directory = tmp_path_factory.mktemp("controller")
        guests = {"web1": f"unix:{first.socket_path}", "web2": f"unix:{second.socket_path}"}
        yield Controller(directory, {**guests, "gone": f"unix:{directory}/none.sock"})


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(tmp_path) as process:
        yield process


@pytest.mark.root
def test_a_playbook_changes_nothing_when_it_runs_again(controller: Controller) -> None:
    directory = controller.directory
    blob = os.urandom(300_000) + b"\0\r\n\xff"
    (directory / "blob").write_bytes(blob)
    (directory / "tree" / "deep").mkdir(parents=True)
    for number in range(5):
        (directory / "tree" / "deep" / f"file {number}").write_text(str(number))
    (directory / "site.conf.j2").write_text("name {{ site }} of {{ inventory_hostname }}\n")
    (directory / "play.yml").write_text(PLAYBOOK)
    (directory / "places.yml").write_text(f"place: '{directory}/on-{{{{ inventory_hostname }}}}'\n")
    words = ("-i", "phoenix.yml", "-e", "@places.yml", "-l", "web*", "-f", "10", "play.yml")
    first = recap(controller.run("ansible-playbook", *words))
    # Both copies, the template, the line, the file that is fetched, and the handler.
    assert {name: counts["changed"] for name, counts in first.items()} == {"web1": 6, "web2": 6}
    for name in ("web1", "web2"):
        place = directory / f"on-{name}"
        assert (place / "blob").read_bytes() == blob
        assert (place / "blob").stat().st_mode & 0o7777 == 0o640
        assert (directory / f"fetched-{name}").read_bytes() == blob
        assert (place / "tree" / "deep" / "file 4").read_text() == "4"
        assert (place / "site.conf").read_text() == f"name web of {name}\n"
        assert (place / "ports.conf").read_text() == "listen 80\n"
        assert (place / "restarted").exists()
    second = recap(controller.run("ansible-playbook", *words, "-l", "web1"))
    assert (second["web1"]["changed"], second["web1"]["failed"]) == (0, 0)


def test_the_inventory_has_the_guests_in_groups(controller: Controller) -> None:
    (controller.directory / "groups.phoenix.yml").write_text(
        "plugin: phoenix.guest.guests\nguests: [web*]\nkeyed_groups: [{key: phoenix_source, prefix: from}]\n"
        "cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: cache\n"
    )
    for name, hosts in (("phoenix.yml", ["gone", "web1", "web2"]), ("groups.phoenix.yml", ["web1", "web2"])):
        for _ in range(2):  # The second time from the cache.
            listed = json.loads(controller.run("ansible-inventory", "-i", name, "--list").partition("\n[W")[0])
            assert sorted(listed["_meta"]["hostvars"]) == hosts
            assert listed["dialect_phoenix"]["hosts"] == ["web1", "web2"]
            assert listed["state_answers"]["hosts"] == ["web1", "web2"]
            assert any(group.startswith("os_") for group in listed)
    assert listed["from_configuration"]["hosts"] == ["web1", "web2"]
    assert any((controller.directory / "cache").iterdir())


def test_errors_say_what_to_do(controller: Controller) -> None:
    output = controller.run("ansible", "-i", "phoenix.yml", "gone", "-m", "ping", status=4)
    assert "UNREACHABLE" in output
    assert "no such socket; is the guest running" in output
    output = controller.run("ansible", "-i", "phoenix.yml", "web1", "-m", "ping", "-u", "no-such-user", status=2)
    assert "no-such-user" in output
    output = controller.run(
        "ansible", "-i", "phoenix.yml", "web1", "-m", "fetch", "-a", "src=/nowhere/x dest=x", status=2
    )
    assert "/nowhere/x" in output


@pytest.mark.root
def test_another_user_transfers_files_with_its_own_rights(controller: Controller, tmp_path: Path) -> None:
    (controller.directory / "blob2").write_bytes(b"\0binary\xff" * 1000)
    options = ("-i", "phoenix.yml", "web1", "-u", "nobody", "-e", "ansible_remote_tmp=/tmp/phoenix-nobody")
    controller.run("ansible", *options, "-m", "copy", "-a", "src=blob2 dest=/tmp/phoenix-of-nobody")
    try:
        copied = Path("/tmp/phoenix-of-nobody")
        assert copied.read_bytes() == (controller.directory / "blob2").read_bytes()
        assert copied.owner() == "nobody"
        controller.run("ansible", *options, "-m", "fetch", "-a", "src=/tmp/phoenix-of-nobody dest=back flat=yes")
        assert (controller.directory / "back").read_bytes() == copied.read_bytes()
        secret = tmp_path / "secret"
        secret.write_text("secret")
        secret.chmod(0o600)
        output = controller.run("ansible", *options, "-m", "copy", "-a", f"src=blob2 dest={secret}", status=2)
        assert secret.read_text() == "secret"
        assert "not writable" in output or "ermission denied" in output
    finally:
        subprocess.run(["rm", "-rf", "/tmp/phoenix-of-nobody", "/tmp/phoenix-nobody"], check=True)


def test_a_become_plugin_that_asks_for_a_password(controller: Controller) -> None:
    sudo = controller.directory / "sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    options = ("-i", "phoenix.yml", "web1", "--become", "-e", f"ansible_become_exe={sudo}", "-m", "shell")
    words = (*options, "-a", "cat", "-e", "ansible_become_password=secret")
    assert "rc=0" in controller.run("ansible", *words)
    output = controller.run("ansible", *options, "-a", "true", "-e", "ansible_become_password=wrong", status=2)
    assert "the become password is wrong" in output


def test_filesystems_are_frozen_once_and_thawed_once(controller: Controller, scripted: ScriptedAgent) -> None:
    status = {"ended": "", "generation": "g1", "since": 0, "until": 0, "blocked": 0, "stage": "", "remaining": -1}
    scripted.answers["get-freeze-status"] = {**status, "frozen": False}
    scripted.answers["fs-freeze"] = {"generation": "g1", "filesystems": ["/"], "skipped": []}
    scripted.answers["fs-unfreeze"] = True

    def ask(words: str, *options: str) -> str:
        where = ("-i", "scripted,", "all", "-c", "phoenix.guest.agent", "-e", f"ansible_host={scripted.endpoint}")
        return controller.run("ansible", *where, "-m", "phoenix.guest.freeze", "-a", words, *options)

    assert '"changed": true' in ask("state=frozen", "--check")
    assert "fs-freeze" not in scripted.asked
    frozen = ask("state=frozen auto_thaw=60")
    assert '"generation": "g1"' in frozen
    assert next(each.arguments for each in scripted.requests if each.execute == "fs-freeze")["timeout"] == 60
    scripted.answers["get-freeze-status"] = {**status, "frozen": True}
    assert '"changed": false' in ask("state=frozen")
    assert '"changed": true' in ask("state=thawed generation=g1")
    assert scripted.asked.count("fs-freeze") == scripted.asked.count("fs-unfreeze") == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("connection", "agent"),
        ("inventory", "guests"),
        *(("module", name) for name in ("deploy", "freeze", "info", "snapshot", "wait")),
    ],
)
def test_ansible_doc_describes_each_plugin(controller: Controller, kind: str, name: str) -> None:
    described = json.loads(controller.run("ansible-doc", "-j", "-t", kind, f"phoenix.guest.{name}"))
    assert described[f"phoenix.guest.{name}"]["doc"]["short_description"]


def test_the_collection_is_built(controller: Controller) -> None:
    source = str(COLLECTIONS / "ansible_collections" / "phoenix" / "guest")
    controller.run("ansible-galaxy", "collection", "build", source, "--output-path", str(controller.directory))
    assert (controller.directory / "phoenix-guest-1.0.0.tar.gz").exists()


@pytest.mark.soak
def test_twenty_guests_at_once(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        guests = {}
        for number in range(20):
            directory = tmp_path / f"agent{number}"
            directory.mkdir()
            agent = stack.enter_context(AgentProcess(directory))
            guests[f"web{number}"] = f"unix:{agent.socket_path}"
        (tmp_path / "controller").mkdir()
        twenty = Controller(tmp_path / "controller", guests)
        (twenty.directory / "play.yml").write_text(LOOP)
        words = ("-i", "phoenix.yml", "-f", "10", "-e", f"place={tmp_path}", "play.yml")
        for changed in (1, 0):
            counts = recap(twenty.run("ansible-playbook", *words))
            assert sorted(counts) == sorted(guests)
            assert {(each["changed"], each["failed"]) for each in counts.values()} == {(changed, 0)}
        assert len(list(tmp_path.glob("web*/a-*"))) == 60
