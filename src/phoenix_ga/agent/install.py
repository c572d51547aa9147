"""Installing the agent in its own guest, under systemd, and removing it.

To replace the QEMU Guest Agent, our unit gets the alias `qemu-guest-agent.service`: everything that starts, stops
or queries that name, udev and configuration management included, then means ours.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import signal
import subprocess
import sys
import time

from phoenix_ga.agent import installed_qemu_ga
from phoenix_ga.agent.config import load_config
from phoenix_ga.agent.linux import waiter
from phoenix_ga.agent.operations.self_test import holders_of
from phoenix_ga.agent.options.command_line import parse_command_line
from phoenix_ga.agent.options.default_ports import QEMU_GA_UNIT
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.profile import FILE_NAME as PROFILE_NAME
from phoenix_ga.agent.profile import drop_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# As in the unit file.
_UNIT_PROGRAM: Final = "/usr/sbin/phoenix-ga"
PROGRAM: Final = _UNIT_PROGRAM
WAITER: Final = waiter.INSTALLED
UNITS: Final = "/etc/systemd/system"
UNIT_NAME: Final = "phoenix-ga.service"
_PACKAGED_UNITS: Final = ("/usr/lib/systemd/system", "/lib/systemd/system")
_DROP_INS: Final = f"{UNITS}/{UNIT_NAME}.d"
_RULES: Final = "/etc/udev/rules.d"
_RULE_NAME: Final = "60-phoenix-ga.rules"
_SYSTEMD: Final = "/run/systemd/system"
# Seconds in which an agent that cannot run has failed.
_START_TIME: Final = 1.5
# Seconds in which an agent opens its ports, on a guest that is busy.
_PORT_TIME: Final = 20.0
# Seconds that systemctl may take: a program in a drop-in can hang.
_SYSTEMCTL_TIME: Final = 100.0


def install(replace_qemu_ga: bool, profile: str = "") -> str:
    """Install the agent and start it. If a package installed it, only set its profile.

    Args:
        replace_qemu_ga: replace the QEMU Guest Agent too.
        profile: the policy and sandbox of the agent, one of `profile.NAMES`; empty: everything is allowed.

    Returns:
        A report for the user.

    Raises:
        ConfigError: it cannot be installed here, or does not stay up.
    """
    _check_system()
    packaged = _is_packaged()
    if packaged and (replace_qemu_ga or not profile):
        raise ConfigError("a package installed phoenix-ga already; phoenix-guest-agent-qemu-ga replaces qemu-ga")
    # A profile is checked before anything is changed.
    sandbox = drop_in(profile, PROGRAM) if profile else b""
    if replace_qemu_ga:
        installed_qemu_ga.check()
    program = PROGRAM if packaged else _install_program()
    if not packaged:
        _write(f"{UNITS}/{UNIT_NAME}", unit(program, replace_qemu_ga), 0o644)
        os.makedirs(_RULES, exist_ok=True)
        _write(f"{_RULES}/{_RULE_NAME}", _data(_RULE_NAME), 0o644)
    if sandbox:
        os.makedirs(_DROP_INS, exist_ok=True)
        _write(f"{_DROP_INS}/{PROFILE_NAME}", sandbox.replace(PROGRAM.encode(), program.encode()), 0o644)
    else:
        _remove_profile()
    old = _state().get("MainPID", "0")
    if replace_qemu_ga:
        _systemctl("stop", QEMU_GA_UNIT, check=False)
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT_NAME)
    _systemctl("restart", UNIT_NAME)
    _end_forgotten(old, program)
    ports = _check_ports(_check_running(program), load_config(parse_command_line([])).port)
    return (
        f"{UNIT_NAME} runs {program}"
        + (f", in place of {QEMU_GA_UNIT}" if replace_qemu_ga else "")
        + (f", with the profile {profile}" if profile else "")
        + (f", and serves {' and '.join(ports)}" if ports else "; there is no port yet, it waits for one")
    )


def uninstall() -> str:
    """Remove the agent, and start the QEMU Guest Agent if it was replaced; return a report for the user.

    The config file stays.

    Raises:
        ConfigError: it cannot be removed.
    """
    _check_system()
    if _is_packaged():
        raise ConfigError("a package installed phoenix-ga; remove it with the package manager")
    replaced = os.path.islink(f"{UNITS}/{QEMU_GA_UNIT}")
    if os.path.exists(f"{UNITS}/{UNIT_NAME}"):
        # The caller may be connected through this very agent, which completes its answers before it exits.
        _systemctl("disable", UNIT_NAME)
        _systemctl("stop", UNIT_NAME)
    for path in (f"{UNITS}/{UNIT_NAME}", f"{_RULES}/{_RULE_NAME}", PROGRAM, WAITER):
        if os.path.exists(path):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(WAITER))
    _remove_profile()
    _systemctl("daemon-reload")
    if not replaced:
        return f"{UNIT_NAME} is removed"
    started = _systemctl("start", QEMU_GA_UNIT, check=False)[0] == 0
    return f"{UNIT_NAME} is removed, {QEMU_GA_UNIT} " + ("runs again" if started else "does not start")


def unit(program: str, replace_qemu_ga: bool) -> bytes:
    """Return the unit file that runs `program`."""
    text = _data(UNIT_NAME)
    alias = f"Alias={QEMU_GA_UNIT}\n" if replace_qemu_ga else ""
    return text.replace(_UNIT_PROGRAM.encode(), program.encode()) + alias.encode()


def _data(name: str) -> bytes:
    data = pkgutil.get_data("phoenix_ga.agent", name)
    assert data is not None
    return data


def _remove_profile() -> None:
    if os.path.exists(f"{_DROP_INS}/{PROFILE_NAME}"):
        os.unlink(f"{_DROP_INS}/{PROFILE_NAME}")
        # Unless the administrator has others there.
        with contextlib.suppress(OSError):
            os.rmdir(_DROP_INS)


def _is_packaged() -> bool:
    """Return whether the unit is that of a distribution's package."""
    return any(os.path.exists(f"{directory}/{UNIT_NAME}") for directory in _PACKAGED_UNITS)


def _check_system() -> None:
    if os.geteuid() != 0:
        raise ConfigError("only root can do that")
    if not os.path.isdir(_SYSTEMD):
        raise ConfigError("systemd is not running; start phoenix-ga from your service manager")


def _install_program() -> str:
    """Copy the archive from which this runs, if it does; return the path of the program."""
    archive = os.path.dirname(sys.path[0])
    if os.path.isfile(archive):
        if os.path.realpath(archive) != os.path.realpath(PROGRAM):
            with open(archive, "rb") as file:
                _write(PROGRAM, file.read(), 0o755)
        _install_waiter()
        return PROGRAM
    # Installed from a package, which has a program. `python3 -m phoenix_ga.agent` is not one.
    program = os.path.realpath(sys.argv[0])
    if os.path.basename(program) == "__main__.py":
        program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "phoenix-ga")
    if not os.access(program, os.X_OK):
        raise ConfigError(f"there is no program {program}; run --install from phoenix-ga.pyz or phoenix-ga")
    return program


def _install_waiter() -> None:
    """Copy the program that an idle agent becomes, if there is one for this machine."""
    data = waiter.bundled_waiter()
    if data is not None:
        os.makedirs(os.path.dirname(WAITER), exist_ok=True)
        _write(WAITER, data, 0o755)


def _state() -> dict[str, str]:
    """Return what systemd knows of the service."""
    output = _systemctl("show", "--property=ActiveState,NRestarts,MainPID", UNIT_NAME)[1]
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def _end_forgotten(pid: str, program: str) -> None:
    """End the earlier agent if systemd has started another one beside it.

    When a unit that runs gets the name of one that is loaded, as an alias, systemd forgets its process.
    """
    if pid not in ("0", _state().get("MainPID")) and program in _command_line(pid):
        os.kill(int(pid), signal.SIGTERM)


def _check_running(program: str) -> str:
    """Return the process ID of the service.

    Raises:
        ConfigError: it has failed, restarts again and again, or runs something else.
    """
    time.sleep(_START_TIME)
    state = _state()
    if state.get("ActiveState") != "active" or state.get("NRestarts") != "0":
        raise ConfigError(f"{UNIT_NAME} does not stay up; `journalctl -u {UNIT_NAME}` shows why")
    command = _command_line(state.get("MainPID", "0"))
    if program not in command:
        raise ConfigError(
            f"{UNIT_NAME} runs {command or 'nothing'}, not {program}; "
            f"`systemctl cat {UNIT_NAME}` shows which file says so"
        )
    return state["MainPID"]


def _check_ports(pid: str, ports: tuple[str, ...]) -> list[str]:
    """Wait until the service has opened its ports, which shows that it works; return those that exist.

    Raises:
        ConfigError: another program has one, such as a qemu-ga that goes on; or the service opens none.
    """
    ports = tuple(port for port in ports if os.path.exists(port))
    end = time.monotonic() + _PORT_TIME
    while True:
        opened_by = {port: holders_of(os.stat(port).st_rdev) for port in ports}
        served = [port for port in ports if pid in opened_by[port]]
        if len(served) == len(ports) or time.monotonic() > end:
            break
        time.sleep(0.1)
    for port, pids in opened_by.items():
        if pids and port not in served:
            raise ConfigError(f"{UNIT_NAME} cannot serve {port}: {_command_line(pids[0])} (process {pids[0]}) has it")
    if ports and not served:
        raise ConfigError(f"{UNIT_NAME} does not serve {ports[0]}; `journalctl -u {UNIT_NAME}` shows why")
    return served


def _command_line(pid: str) -> str:
    """Return the command line of a process; empty if it does not exist."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsdecode(file.read().rstrip(b"\0").replace(b"\0", b" "))
    except OSError:
        return ""


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
    try:
        result = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, check=False, timeout=_SYSTEMCTL_TIME
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"systemctl {' '.join(words)} took longer than {_SYSTEMCTL_TIME:g} seconds") from None
    if check and result.returncode != 0:
        raise ConfigError(f"systemctl {' '.join(words)}: {result.stderr.strip()}")
    return result.returncode, result.stdout
