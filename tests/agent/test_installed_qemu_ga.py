"""What keeps qemu-ga from being replaced: each way in which distributions and administrators restrict it."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ga.agent import installed_qemu_ga
from phoenix_ga.agent.options.default_ports import default_ports
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import DEFAULT_PORTS
from tests.support import SOURCE

CONFIG = "etc/qemu/qemu-ga.conf"
SYSCONFIG = "etc/sysconfig/qemu-ga"
DEFAULT = "etc/default/qemu-guest-agent"
UNIT = "usr/lib/systemd/system/qemu-guest-agent.service"
DROP_IN = "etc/systemd/system/qemu-guest-agent.service.d/own.conf"

FEDORA = """[Unit]
Description=QEMU Guest Agent
IgnoreOnIsolate=True

[Service]
UMask=0077
EnvironmentFile=/etc/sysconfig/qemu-ga
ExecStart=/usr/bin/qemu-ga \\
  --method=virtio-serial \\
  --path=/dev/virtio-ports/org.qemu.guest_agent.0 \\
  --block-rpcs=${BLOCK_RPCS} $FILTER_RPC_ARGS \\
  -F${FSFREEZE_HOOK_PATHNAME}
Restart=always
"""
DEBIAN = """[Service]
ExecStart=-/usr/sbin/qemu-ga $DAEMON_ARGS
EnvironmentFile=-/etc/default/qemu-guest-agent
"""
NO_HOOK = "FSFREEZE_HOOK_PATHNAME=/dev/null\n"


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {CONFIG: "# block-rpcs=guest-exec\n[general]\nverbose=1\nlogfile=/var/log/qga.log\nblock-rpcs=\n"},
        {CONFIG: "[general]\nmethod = virtio-serial\n"},
        {SYSCONFIG: "# BLOCK_RPCS=guest-exec\nBLOCK_RPCS=\nFSFREEZE_HOOK_ENABLE=0\n" + NO_HOOK, UNIT: FEDORA},
        {SYSCONFIG: 'FILTER_RPC_ARGS="--block-rpcs="\n' + NO_HOOK, UNIT: FEDORA},
        {SYSCONFIG: 'TRANSPORT_METHOD="virtio-serial"\nLOGFILE=/var/log/x\n'},
        {DEFAULT: 'DAEMON_ARGS=""\n', UNIT: DEBIAN},
        {DEFAULT: 'DAEMON_ARGS="-vd -l /var/log/qga.log -t/run -m virtio-serial"\n', UNIT: DEBIAN},
        {DROP_IN: "[Unit]\nAfter=network.target\n[Service]\nRestartSec=1\n"},
        # The administrator has decided.
        {CONFIG: "[general]\nblock-rpcs=guest-exec\n", "etc/phoenix-ga.conf": "[general]\nread-only = false\n"},
    ],
)
def test_what_restricts_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    installed_qemu_ga.check(write(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "text", "number", "problem"),
    [
        (CONFIG, "[general]\nblock-rpcs=guest-exec\n", 2, "forbids"),
        (CONFIG, "[general]\nblacklist = guest-exec\n", 2, "forbids"),
        (CONFIG, "[general]\nallow-rpcs=guest-ping\n", 2, "forbids"),
        (CONFIG, "[general]\n\nfsfreeze-hook=/etc/hook\n", 3, "names a program"),
        (CONFIG, "[general]\nmethod=isa-serial\n", 2, "not understood: method=isa-serial"),
        (CONFIG, "[general]\nnovel=1\n", 2, "not understood: novel=1"),
        (SYSCONFIG, "# a comment\nBLACKLIST_RPC=guest-exec\n", 2, "forbids"),
        (SYSCONFIG, "BLOCK_RPCS='guest-exec,guest-file-open'\n", 1, "forbids"),
        (SYSCONFIG, "ALLOW_RPCS=guest-ping\n", 1, "forbids"),
        (SYSCONFIG, 'FILTER_RPC_ARGS="--allow-rpcs=guest-ping"\n', 1, "forbids"),
        (SYSCONFIG, 'FILTER_RPC_ARGS="-b guest-exec"\n', 1, "forbids"),
        (SYSCONFIG, "FSFREEZE_HOOK_ENABLE=1\n", 1, "names a program"),
        (SYSCONFIG, "FSFREEZE_HOOK_PATHNAME=/etc/qemu-ga/fsfreeze-hook\n", 1, "names a program"),
        (SYSCONFIG, "FSFREEZE_HOOK_PATHNAME=\n", 1, "names a program"),
        (SYSCONFIG, "DENY_RPCS=guest-exec\n", 1, "not understood: DENY_RPCS=guest-exec"),
        (SYSCONFIG, "BLOCK_RPCS=\\\nguest-exec\n", 1, "not understood"),
        (DEFAULT, 'DAEMON_ARGS="-b guest-exec"\n', 1, "forbids"),
        (DEFAULT, 'DAEMON_ARGS="-vbguest-exec"\n', 1, "not understood"),
        (DEFAULT, 'DAEMON_ARGS="-v --block-rpcs guest-exec"\n', 1, "forbids"),
        (DEFAULT, 'DAEMON_ARGS="-F"\n', 1, "names a program"),
        (DEFAULT, 'DAEMON_ARGS="--fsfreeze-hook=/etc/hook"\n', 1, "names a program"),
        (DEFAULT, 'DAEMON_ARGS="-p /dev/ttyS1"\n', 1, "not understood: p=/dev/ttyS1"),
        (UNIT, "[Service]\nExecStart=/usr/bin/qemu-ga --allow-rpcs=guest-ping\n", 2, "forbids"),
        (UNIT, "[Service]\nExecStart=/usr/bin/qemu-ga \\\n  -v \\\n  -b guest-exec\n", 2, "forbids"),
        (UNIT, "[Service]\nEnvironment=BLOCK_RPCS=guest-exec\n", 2, "not understood"),
        (UNIT, "[Service]\nExecStart=/usr/bin/qemu-ga -c /etc/other.conf\n", 2, "not understood"),
        (DROP_IN, "[Service]\nExecStart=\nExecStart=/usr/bin/qemu-ga -b guest-exec\n", 2, "ExecStart would apply"),
        (DROP_IN, "[Service]\nExecStartPre=/etc/hook\n", 2, "ExecStartPre would apply"),
    ],
)
def test_what_refuses(tmp_path: Path, name: str, text: str, number: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        installed_qemu_ga.check(write(tmp_path, {name: text}))
    assert str(caught.value).startswith(f"{tmp_path}/{name}:{number}")
    assert problem in str(caught.value)


def test_an_environment_file_of_the_unit_is_read(tmp_path: Path) -> None:
    unit = "[Service]\nEnvironmentFile=-/etc/own\nExecStart=/usr/bin/qemu-ga --block-rpcs=${BLOCK_RPCS}\n"
    root = write(tmp_path, {UNIT: unit, "etc/own": "BLOCK_RPCS=guest-exec\n"})
    with pytest.raises(ConfigError, match=r"/etc/own:1 forbids commands"):
        installed_qemu_ga.check(root)


def test_a_drop_in_refuses_even_if_our_agent_is_configured(tmp_path: Path) -> None:
    root = write(tmp_path, {DROP_IN: "[Service]\nExecStart=/usr/bin/qemu-ga\n", "etc/phoenix-ga.conf": ""})
    with pytest.raises(
        ConfigError, match=r"own\.conf:2: ExecStart would apply to the unit of this agent too; remove it"
    ):
        installed_qemu_ga.check(root)


def test_a_unit_in_the_way_refuses(tmp_path: Path) -> None:
    path = tmp_path / "etc/systemd/system/qemu-guest-agent.service"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="is masked; run `systemctl unmask"):
        installed_qemu_ga.check(str(tmp_path))
    path.unlink()
    path.write_text("[Service]\n")
    with pytest.raises(ConfigError, match="this unit is in the way"):
        installed_qemu_ga.check(str(tmp_path))
    path.unlink()
    # Replaced already.
    path.symlink_to("/etc/systemd/system/phoenix-ga.service")
    installed_qemu_ga.check(str(tmp_path))


def test_the_config_file_of_a_package_decides_nothing(tmp_path: Path) -> None:
    shipped = (SOURCE.parent / "packaging" / "phoenix-ga.conf").read_text()
    root = write(tmp_path, {CONFIG: "[general]\nblock-rpcs=guest-exec\n", "etc/phoenix-ga.conf": shipped})
    with pytest.raises(ConfigError, match="forbids commands"):
        installed_qemu_ga.check(root)


OURS = DEFAULT_PORTS[:1]


@pytest.mark.parametrize(
    ("links", "files", "ports"),
    [
        ({}, ["run/systemd/system/x"], DEFAULT_PORTS),
        ({}, ["run/systemd/system/x", "lib/systemd/system/qemu-guest-agent.service"], OURS),
        (
            {"run/systemd/generator.early/qemu-guest-agent.service": "/dev/null"},
            ["run/systemd/system/x", "lib/systemd/system/qemu-guest-agent.service"],
            DEFAULT_PORTS,
        ),
        (
            {"etc/systemd/system/qemu-guest-agent.service": "phoenix-ga.service"},
            ["run/systemd/system/x", "usr/lib/systemd/system/qemu-guest-agent.service"],
            DEFAULT_PORTS,
        ),
        ({}, ["etc/init.d/qemu-guest-agent", "usr/sbin/qemu-ga"], OURS),
        ({}, ["etc/init.d/qemu-guest-agent"], DEFAULT_PORTS),
        (
            {"etc/systemd/system/qemu-guest-agent.service": "phoenix-guest-agent-qemu-ga.service"},
            ["etc/init.d/qemu-guest-agent", "usr/sbin/qemu-ga", "lib/systemd/system/qemu-guest-agent.service"],
            DEFAULT_PORTS,
        ),
        (
            {},
            ["etc/init.d/qemu-guest-agent", "usr/sbin/qemu-ga", "lib/systemd/system/qemu-guest-agent.service"],
            OURS,
        ),
    ],
)
def test_the_port_of_an_installed_qemu_ga_is_left_to_it(
    tmp_path: Path, links: dict[str, str], files: list[str], ports: tuple[str, ...]
) -> None:
    root = write(tmp_path, dict.fromkeys(files, ""))
    for path, target in links.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    assert default_ports(root) == ports
