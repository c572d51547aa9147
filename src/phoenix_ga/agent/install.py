"""Installing the agent in its own guest, under systemd, and removing it.

To replace the QEMU Guest Agent, our unit gets the alias `qemu-guest-agent.service`: everything that starts, stops
or queries that name, udev and configuration management included, then means ours.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import time

from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.options.table import CONFIG_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# As in the unit file.
_UNIT_PROGRAM: Final = "/usr/sbin/phoenix-ga"
PROGRAM: Final = _UNIT_PROGRAM
UNITS: Final = "/etc/systemd/system"
UNIT_NAME: Final = "phoenix-ga.service"
QEMU_GA_UNIT: Final = "qemu-guest-agent.service"
_SYSTEMD: Final = "/run/systemd/system"
# Where distributions let their users forbid commands of qemu-ga, and name its hook.
_QEMU_GA_CONFIGS: Final = ("/etc/qemu/qemu-ga.conf", "/etc/sysconfig/qemu-ga", "/etc/default/qemu-guest-agent")
_LISTS: Final = ("block-rpcs", "allow-rpcs", "blacklist", "BLACKLIST_RPC", "FILTER_RPC_ARGS")
_HOOKS: Final = ("fsfreeze-hook", "FSFREEZE_HOOK_PATHNAME")
_ARGUMENTS: Final = "DAEMON_ARGS"
# Seconds in which an agent that cannot run has failed.
_START_TIME: Final = 1.5


def install(replace_qemu_ga: bool) -> str:
    """Install the agent and start it.

    Args:
        replace_qemu_ga: replace the QEMU Guest Agent too.

    Returns:
        A report for the user.

    Raises:
        ConfigError: it cannot be installed here, or does not stay up.
    """
    _check_system()
    if replace_qemu_ga:
        _check_qemu_ga_configs()
    program = _install_program()
    _write(f"{UNITS}/{UNIT_NAME}", unit(program, replace_qemu_ga), 0o644)
    if replace_qemu_ga:
        _systemctl("stop", QEMU_GA_UNIT, check=False)
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT_NAME)
    _systemctl("restart", UNIT_NAME)
    _check_running()
    return f"{UNIT_NAME} runs {program}" + (f", in place of {QEMU_GA_UNIT}" if replace_qemu_ga else "")


def uninstall() -> str:
    """Remove the agent, and start the QEMU Guest Agent if it was replaced; return a report for the user.

    The config file stays.

    Raises:
        ConfigError: it cannot be removed.
    """
    _check_system()
    replaced = os.path.islink(f"{UNITS}/{QEMU_GA_UNIT}")
    if os.path.exists(f"{UNITS}/{UNIT_NAME}"):
        # The caller may be connected through this very agent, which completes its answers before it exits.
        _systemctl("disable", UNIT_NAME)
        _systemctl("stop", UNIT_NAME)
        os.unlink(f"{UNITS}/{UNIT_NAME}")
    if os.path.exists(PROGRAM):
        os.unlink(PROGRAM)
    _systemctl("daemon-reload")
    if not replaced:
        return f"{UNIT_NAME} is removed"
    started = _systemctl("start", QEMU_GA_UNIT, check=False)[0] == 0
    return f"{UNIT_NAME} is removed, {QEMU_GA_UNIT} " + ("runs again" if started else "does not start")


def unit(program: str, replace_qemu_ga: bool) -> bytes:
    """Return the unit file that runs `program`."""
    text = pkgutil.get_data("phoenix_ga.agent", UNIT_NAME)
    assert text is not None
    alias = f"Alias={QEMU_GA_UNIT}\n" if replace_qemu_ga else ""
    return text.replace(_UNIT_PROGRAM.encode(), program.encode()) + alias.encode()


def _check_system() -> None:
    if os.geteuid() != 0:
        raise ConfigError("only root can do that")
    if not os.path.isdir(_SYSTEMD):
        raise ConfigError("systemd is not running; start phoenix-ga from your service manager")


def _check_qemu_ga_configs() -> None:
    """Raise ConfigError if qemu-ga is configured to refuse commands or to run a hook, and our agent is not."""
    if os.path.exists(CONFIG_PATH):
        return
    for path in _QEMU_GA_CONFIGS:
        settings = _read_settings(path)
        if any(name in _LISTS for name in settings):
            raise ConfigError(
                f"{path} forbids commands of qemu-ga; configure in {CONFIG_PATH} what the host may do "
                "(options allow, block and read-only), then install again"
            )
        words = settings.get(_ARGUMENTS, "").split()
        if any(name in _HOOKS for name in settings) or any(_is_hook(word) for word in words):
            raise ConfigError(
                f"{path} names a program to run around a freeze; configure it in {CONFIG_PATH} "
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
    """Copy the archive from which this runs, if it does; return the path of the program."""
    archive = os.path.dirname(sys.path[0])
    if os.path.isfile(archive):
        if os.path.realpath(archive) != os.path.realpath(PROGRAM):
            with open(archive, "rb") as file:
                _write(PROGRAM, file.read(), 0o755)
        return PROGRAM
    # Installed from a package, which has a program. `python3 -m phoenix_ga.agent` is not one.
    program = os.path.realpath(sys.argv[0])
    if os.path.basename(program) == "__main__.py":
        program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "phoenix-ga")
    if not os.access(program, os.X_OK):
        raise ConfigError(f"there is no program {program}; run --install from phoenix-ga.pyz or phoenix-ga")
    return program


def _check_running() -> None:
    """Raise ConfigError if the service has failed, or restarts again and again."""
    time.sleep(_START_TIME)
    state = _systemctl("show", "--property=ActiveState,NRestarts", UNIT_NAME)[1].split()
    if sorted(state) != ["ActiveState=active", "NRestarts=0"]:
        raise ConfigError(f"{UNIT_NAME} does not stay up; `journalctl -u {UNIT_NAME}` shows why")


def _write(path: str, data: bytes, mode: int) -> None:
    """Replace a file atomically."""
    part = path + ".phoenix-part"
    with open(part, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _systemctl(*words: str, check: bool = True) -> tuple[int, str]:
    """Run systemctl; return its exit status and output. Raises ConfigError if it fails and `check` is set."""
    result = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise ConfigError(f"systemctl {' '.join(words)}: {result.stderr.strip()}")
    return result.returncode, result.stdout
