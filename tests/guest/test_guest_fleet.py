"""Ansible and Prometheus use a guest without a network as if it were a host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine
from phoenix_ga.client import SyncGuest, connect_sync
from tests.cli.conftest import command_line, environment
from tests.cli.test_metrics import COMPARED, samples
from tests.integrations.ansible import Controller, recap
from tests.integrations.test_ansible import PLAYBOOK
from tools.guest import AGENT_PORT, agent_files, wait_for_agent

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

NODE_EXPORTER = "/usr/bin/prometheus-node-exporter"
FETCH = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9100/metrics", timeout=60).read().decode())
"""
# Its options for the rules of upstream; Debian leaves out more.
START = (
    f"systemd-run --quiet --unit node-exporter {NODE_EXPORTER} --collector.netdev.device-exclude='^$' "
    "--collector.filesystem.mount-points-exclude='^/(dev|proc|run/credentials/.+|sys)($|/)'"
)
CONSTANT = {*COMPARED, "node_filesystem_size_bytes", "node_filesystem_files", "node_filesystem_readonly"}
ACCOUNT = """
- hosts: all
  gather_facts: false
  tasks:
    - phoenix.guest.wait: {conditions: [agent, path=/etc/passwd]}
    - phoenix.guest.deploy: {agent: "{{ archive }}"}
    - ansible.builtin.user: {name: web, uid: 4711, system: true}
    - ansible.builtin.copy: {content: "listen {{ 40 * 2 }}\\n", dest: /etc/web.conf, owner: web, mode: "0640"}
      notify: restart
  handlers:
    - name: restart
      ansible.builtin.command: touch /run/restarted
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz"


@pytest.fixture(scope="module")
def machine(archive: Path) -> Iterator[Machine]:
    files = agent_files(archive)
    if os.path.exists(NODE_EXPORTER):
        files[NODE_EXPORTER] = Path(NODE_EXPORTER)
    with Machine(files=files) as machine:
        wait_for_agent(machine.socket(AGENT_PORT))
        yield machine


@pytest.fixture
def controller(machine: Machine, tmp_path: Path) -> Controller:
    return Controller(tmp_path, {"web1": f"unix:{machine.socket(AGENT_PORT)}"})


def play(controller: Controller, text: str, *words: str) -> dict[str, int]:
    """Run a playbook, and return the counts of the guest."""
    (controller.directory / "play.yml").write_text(text)
    return recap(controller.run("ansible-playbook", "-i", "phoenix.yml", "-f", "10", *words, "play.yml"))["web1"]


def test_a_playbook_changes_a_guest_once(controller: Controller, archive: Path, machine: Machine) -> None:
    first = play(controller, ACCOUNT, "-e", f"archive={archive}")
    # The user, the file and the handler.
    assert (first["changed"], first["failed"]) == (3, 0)
    shown = machine.run("stat -c '%U %a' /etc/web.conf; cat /etc/web.conf; id -u web; ls /run/restarted").text
    assert shown == "web 640\nlisten 80\n4711\n/run/restarted"
    second = play(controller, ACCOUNT, "-e", f"archive={archive}")
    assert (second["changed"], second["failed"]) == (0, 0)


@pytest.mark.soak
def test_all_of_a_playbook_works_in_a_guest(controller: Controller, machine: Machine) -> None:
    directory = controller.directory
    blob = os.urandom(300_000) + b"\0\r\n\xff"
    (directory / "blob").write_bytes(blob)
    (directory / "tree" / "deep").mkdir(parents=True)
    for number in range(5):
        (directory / "tree" / "deep" / f"file {number}").write_text(str(number))
    (directory / "site.conf.j2").write_text("name {{ site }} of {{ inventory_hostname }}\n")
    first = play(controller, PLAYBOOK, "-e", "place=/root/site")
    assert (first["changed"], first["failed"]) == (6, 0)
    assert (directory / "fetched-web1").read_bytes() == blob
    assert machine.run("cat /root/site/site.conf; cd /root/site/tree/deep; cat *").text == "name web of web1\n01234"
    second = play(controller, PLAYBOOK, "-e", "place=/root/site")
    assert (second["changed"], second["failed"]) == (0, 0)


def node_exporter(guest: SyncGuest) -> str:
    """Return the page of node_exporter in the guest, which has no network: a program of the guest fetches it."""
    return guest.run(["python3", "-c", FETCH], check=True).stdout.decode()


@pytest.mark.soak
@pytest.mark.programs("prometheus-node-exporter")
def test_the_metrics_are_those_of_node_exporter_in_the_same_guest(machine: Machine) -> None:
    endpoint = f"unix:{machine.socket(AGENT_PORT)}"
    machine.run(f"{START} && until grep -qi ':238C' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done", timeout=120)
    with connect_sync(endpoint, timeout=120) as guest:
        before = node_exporter(guest)
    line = command_line("metrics", "--prometheus", endpoint)
    ours = subprocess.run(line, capture_output=True, check=True, text=True, env=environment()).stdout
    with connect_sync(endpoint, timeout=120) as guest:
        after = node_exporter(guest)
    machine.run("systemctl stop node-exporter")
    described = {line for line in before.splitlines() if line.startswith("# ")}
    assert [line for line in ours.splitlines() if line.startswith("# ") and line not in described] == []
    first, found, last = samples(before), samples(ours), samples(after)
    assert set(found) <= set(first) & set(last)
    counters = {words.split()[2] for words in described if words.startswith("# TYPE") and words.endswith(" counter")}
    compared = 0
    for series, value in found.items():
        name = series.partition("{")[0]
        if name in counters:
            # The kernel's accounts of processors are not exact.
            assert first[series] - 0.1 <= value <= last[series] + 0.1, (series, first[series], value, last[series])
        elif name in CONSTANT:
            noise = COMPARED.get(name, 0)
            assert abs(first[series] - value) <= noise, (series, first[series], value)
        compared += name in counters or name in CONSTANT
    assert compared > len(found) / 2
