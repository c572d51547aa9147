"""Installing the agent in the guest that it runs in, under systemd, and removing it again.

Taking the place of the QEMU Guest Agent is an alias of our unit: whatever starts, stops or asks for
`qemu-guest-agent.service`, udev and configuration management included, means ours then.
"""

from __future__ import annotations

import os
import subprocess
import sys

from phoenix_ga.agent.config import CONFIG_PATH, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROGRAM: Final = "/usr/sbin/phoenix-ga"
UNITS: Final = "/etc/systemd/system"
UNIT_NAME: Final = "phoenix-ga.service"
QEMU_GA_UNIT: Final = "qemu-guest-agent.service"
_SYSTEMD: Final = "/run/systemd/system"
# Where distributions let their users forbid commands of qemu-ga, and name its hook.
_QEMU_GA_CONFIGS: Final = ("/etc/qemu/qemu-ga.conf", "/etc/sysconfig/qemu-ga", "/etc/default/qemu-guest-agent")
_LISTS: Final = ("block-rpcs", "allow-rpcs", "blacklist", "BLACKLIST_RPC", "FILTER_RPC_ARGS")
_HOOKS: Final = ("fsfreeze-hook", "FSFREEZE_HOOK_PATHNAME")
_ARGUMENTS: Final = "DAEMON_ARGS"

UNIT: Final = """\
[Unit]
Description=Phoenix guest agent
Documentation=man:phoenix-ga(8)
DefaultDependencies=no
# Early, so that the host can help a guest that does not get far; the agent waits for its port by itself.
After=systemd-remount-fs.service local-fs-pre.target
Before=shutdown.target
Conflicts=shutdown.target
# However often it dies, it comes back.
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/sbin/phoenix-ga
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=100ms
# The agent must survive what makes a host reach for it.
OOMScoreAdjust=-900
# What a restarted agent must know of frozen filesystems.
RuntimeDirectory=phoenix-ga
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
# One heap for all threads, that keeps little: an agent stays small, and gets its memory anew seldom.
Environment=MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=524288 MALLOC_TRIM_THRESHOLD_=1048576 MALLOC_TOP_PAD_=16384

[Install]
WantedBy=multi-user.target
"""


def install(replace_qemu_ga: bool) -> str:
    """Install the agent, and start it; return what was done, for the user.

    replace_qemu_ga: take the place of the QEMU Guest Agent too. Raises ConfigError where that is not
    possible here, and OSError.
    """
    _check_system()
    if replace_qemu_ga:
        _check_qemu_ga_configs()
    program = _install_program()
    alias = f"Alias={QEMU_GA_UNIT}\n" if replace_qemu_ga else ""
    _write(f"{UNITS}/{UNIT_NAME}", UNIT.replace(PROGRAM, program).encode() + alias.encode(), 0o644)
    if replace_qemu_ga:
        _systemctl("stop", QEMU_GA_UNIT, check=False)
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT_NAME)
    _systemctl("restart", UNIT_NAME)
    return f"{UNIT_NAME} runs {program}" + (f", in the place of {QEMU_GA_UNIT}" if replace_qemu_ga else "")


def uninstall() -> str:
    """Remove the agent, and let the QEMU Guest Agent back in its place; return what was done.

    The config file stays. Raises ConfigError and OSError.
    """
    _check_system()
    replaced = os.path.islink(f"{UNITS}/{QEMU_GA_UNIT}")
    if os.path.exists(f"{UNITS}/{UNIT_NAME}"):
        # It may be what this very connection goes through: it ends after the answer.
        _systemctl("disable", UNIT_NAME)
        _systemctl("stop", UNIT_NAME)
        os.unlink(f"{UNITS}/{UNIT_NAME}")
    if os.path.exists(PROGRAM):
        os.unlink(PROGRAM)
    _systemctl("daemon-reload")
    if not replaced:
        return f"{UNIT_NAME} is removed"
    started = _systemctl("start", QEMU_GA_UNIT, check=False) == 0
    return f"{UNIT_NAME} is removed, {QEMU_GA_UNIT} " + ("runs again" if started else "does not start")


def _check_system() -> None:
    if os.geteuid() != 0:
        raise ConfigError("only root can do that")
    if not os.path.isdir(_SYSTEMD):
        raise ConfigError("systemd does not run here; start phoenix-ga from whatever starts services")


def _check_qemu_ga_configs() -> None:
    """See that nothing that was forbidden becomes allowed, and that no hook is forgotten. Raises ConfigError."""
    if os.path.exists(CONFIG_PATH):
        return
    for path in _QEMU_GA_CONFIGS:
        settings = _read_settings(path)
        if any(name in _LISTS for name in settings):
            raise ConfigError(
                f"{path} forbids commands of qemu-ga; say in {CONFIG_PATH} what the host may do "
                "(options allow, block and read-only), then install again"
            )
        words = settings.get(_ARGUMENTS, "").split()
        if any(name in _HOOKS for name in settings) or any(_is_hook(word) for word in words):
            raise ConfigError(
                f"{path} names a program to run around a freeze; say in {CONFIG_PATH} which one "
                "(option freeze-hook), then install again"
            )


def _read_settings(path: str) -> dict[str, str]:
    """Return the settings of a file that are not empty, by name."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().partition("=") for line in file]
    except FileNotFoundError:
        return {}
    settings = {name.strip(): value.strip(" \"'") for name, _, value in lines}
    return {name: value for name, value in settings.items() if value}


def _is_hook(word: str) -> bool:
    return word.startswith(("-F", "--fsfreeze-hook"))


def _install_program() -> str:
    """Copy the archive that this runs from to its place; return the path of the program."""
    archive = os.path.dirname(sys.path[0])
    if not os.path.isfile(archive):
        # Installed from a package: there is a program already.
        return os.path.realpath(sys.argv[0])
    if os.path.realpath(archive) != os.path.realpath(PROGRAM):
        with open(archive, "rb") as file:
            _write(PROGRAM, file.read(), 0o755)
    return PROGRAM


def _write(path: str, data: bytes, mode: int) -> None:
    """Replace a file whole."""
    part = path + ".phoenix-part"
    with open(part, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _systemctl(*words: str, check: bool = True) -> int:
    """Run systemctl; return its exit status. Raises ConfigError where it fails and `check` is set."""
    result = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise ConfigError(f"systemctl {' '.join(words)}: {result.stderr.strip()}")
    return result.returncode
