"""What virsh does with Debian's qemu-ga in a guest, it does with our agent in that guest.

That it reboots and shuts down with ours, and what each verb does there, is in test_guest_libvirt.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.libvirt import Domain, Libvirt
from tests.support import wait_for
from tools.guest import agent_files

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

KEY = "ssh-ed25519 AAAAC3first one@example.org\n"
HASH = "$6$salt$" + "x" * 86
# Verbs with their words; KEY stands for a file on the host.
VERBS: tuple[tuple[str, ...], ...] = (
    ("qemu-agent-command", '{"execute": "guest-ping"}'),
    ("qemu-agent-command", '{"execute": "guest-info"}'),
    ("qemu-agent-command", '{"execute": "guest-nonsense"}'),
    ("qemu-agent-command", '{"execute": "guest-get-host-name", "arguments": {"a": 1}}'),
    ("domifaddr", "--source", "agent"),
    ("domhostname", "--source", "agent"),
    ("guestinfo",),
    *(
        ("guestinfo", f"--{part}")
        for part in ("user", "os", "timezone", "hostname", "filesystem", "disk", "interface")
    ),
    ("domfsinfo",),
    ("domfsfreeze",),
    ("domfsfreeze",),
    ("guestinfo", "--hostname"),
    ("domfsthaw",),
    ("domfsthaw",),
    ("domfsfreeze", "--mountpoint", "/"),
    ("domfsthaw", "--mountpoint", "/"),
    # It may not thaw single ones.
    ("domfsthaw",),
    ("domfsfreeze", "--mountpoint", "/nowhere"),
    ("domfstrim",),
    ("domfstrim", "--mountpoint", "/"),
    ("domfstrim", "--minimum", "4096"),
    ("domtime",),
    ("domtime", "--now"),
    ("domtime", "--time", "2000000000"),
    ("domtime", "--sync"),
    ("domtime", "--now"),
    ("set-user-password", "root", "secret"),
    ("set-user-password", "root", HASH, "--encrypted"),
    ("set-user-password", "nobody-at-all", "secret"),
    ("get-user-sshkeys", "root"),
    ("set-user-sshkeys", "root", "KEY"),
    ("get-user-sshkeys", "root"),
    ("set-user-sshkeys", "root", "--reset", "KEY"),
    ("set-user-sshkeys", "root", "--remove", "KEY"),
    ("set-user-sshkeys", "nobody-at-all", "KEY"),
    ("guestvcpus",),
    ("guestvcpus", "--cpulist", "0", "--enable"),
    ("guestvcpus", "--cpulist", "0", "--disable"),
    ("guestvcpus", "--cpulist", "7", "--disable"),
    ("setvcpus", "--guest", "1"),
    ("snapshot-create-as", "--disk-only", "--quiesce", "--no-metadata", "--diskspec", "vdb,snapshot=no"),
)
UNITS = ("qemu-guest-agent", "phoenix-ga")
_FAILED = "error:"


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    """A domain with both agents, of which neither runs yet but by chance."""
    files = agent_files(tmp_path_factory.mktemp("dist") / "phoenix-ga.pyz")
    # By default, our agent leaves the port to an installed qemu-ga.
    files["/etc/phoenix-ga.conf"] = b"[general]\nport = /dev/virtio-ports/org.qemu.guest_agent.0\n"
    with Libvirt() as libvirt, Domain(libvirt, "both", files=files, peer=True) as domain:
        yield domain


def give_the_port_to(domain: Domain, unit: str) -> None:
    """Let one agent have the port, and libvirt know of it."""
    (other,) = set(UNITS) - {unit}
    domain.run(f"systemctl stop {other}; systemctl reset-failed {unit}; systemctl restart {unit}")
    wait_for(lambda: "state='connected'" in domain.virsh("dumpxml"))
    wait_for(lambda: domain.virsh("qemu-agent-command", '{"execute": "guest-ping"}', check=False) == '{"return":{}}')
    assert (domain.run("pidof qemu-ga").status == 0) == (unit == "qemu-guest-agent")


def try_all(domain: Domain, key: Path) -> list[tuple[str, bool, str]]:
    """Return each verb, whether it passed, and what was said."""
    outcome = []
    # What an earlier turn has left.
    domain.run("rm -rf /root/.ssh; mkdir -m 700 /root/.ssh; touch /root/.ssh/authorized_keys")
    for words in VERBS:
        said = domain.virsh(*(str(key) if word == "KEY" else word for word in words), check=False)
        outcome.append((" ".join(words), _FAILED not in said, said))
    return outcome


def test_each_verb_that_passes_with_qemu_ga_passes_with_ours(domain: Domain, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    outcomes = []
    for unit in UNITS:
        give_the_port_to(domain, unit)
        outcomes.append(try_all(domain, key))
    theirs, ours = outcomes
    assert sum(passed for _, passed, _ in theirs) > len(VERBS) // 2
    assert [each for each, reference in zip(ours, theirs) if reference[1] and not each[1]] == []
    # What fails with both fails on purpose.
    assert [verb for verb, passed, _ in ours if passed] == [verb for verb, passed, _ in theirs if passed]
