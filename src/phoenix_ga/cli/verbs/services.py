"""`phoenixctl services`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from phoenix_ga.cli.arguments import GUEST
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.each_guest import each_guest
from phoenix_ga.cli.errors import GuestProblem
from phoenix_ga.cli.output import table, titled_table
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.client import Guest

_CHANGES: Final = ("start", "stop", "restart", "reload", "enable", "disable")
_ACTIONS: Final = ("status", *_CHANGES)
_SUFFIX: Final = ".service"
# As systemctl status.
_INACTIVE: Final = 3
_UNKNOWN: Final = 4
_PROPERTIES: Final = {
    "Id": "unit",
    "Description": "description",
    "LoadState": "loaded",
    "UnitFileState": "at boot",
    "ActiveState": "state",
    "SubState": "detail",
    "Result": "result",
    "ActiveEnterTimestamp": "since",
    "MainPID": "main process",
    "NRestarts": "restarts",
    "StatusText": "says",
}


@verb(
    short_help="Show and control the services of the guest.",
    epilog="""\b
NAME is a unit of systemd; .service can be left out. With NAME alone, its status is shown, and the
exit status is 0 if it is active, 3 if it is not, and 4 if there is no such unit. The actions wait
until systemd has done them, for at most 90 seconds or --timeout.

\b
Examples:
  $ phoenixctl services web1
  $ phoenixctl services web1 nginx restart
  $ phoenixctl services --failed web1
""",
)
@GUEST
@click.argument("name", required=False)
@click.argument("action", type=click.Choice(_ACTIONS), default="status", metavar=f"[{'|'.join(_ACTIONS)}]")
@click.option("--failed", is_flag=True, help="List only services that have failed.")
@click.pass_obj
def command(options: Options, guest: str, name: str | None, action: str, failed: bool) -> int:
    """Show the services of the guest and their state; start and stop them."""
    if failed and name is not None:
        raise click.UsageError("--failed and NAME exclude each other.")
    if name is None:
        return each_guest(options, guest, lambda connected: _list(connected, failed), _describe_list)
    unit = name if "." in name else name + _SUFFIX
    if action == "status":
        return each_guest(options, guest, lambda connected: _status(connected, unit), _describe_unit, _judge)
    timeout = options.timeout or 90.0

    async def change(connected: Guest) -> None:
        from phoenix_ga.cli.systemd import check, run_systemctl

        completed = await run_systemctl(connected, action, "--", unit, timeout=timeout)
        check(completed.returncode, completed.stderr.decode("utf-8", "backslashreplace"))

    return each_guest(options, guest, change, lambda _: ({"unit": unit, "action": action}, ""))


async def _list(guest: Guest, failed: bool) -> list[dict[str, str]]:
    from phoenix_ga.cli.systemd import check, run_systemctl

    which = "--state=failed" if failed else "--all"
    completed = await run_systemctl(guest, "list-units", "--type=service", which, "--no-legend", "--plain", "--full")
    check(completed.returncode, completed.stderr.decode("utf-8", "backslashreplace"))
    units = []
    for line in completed.stdout.decode("utf-8", "backslashreplace").splitlines():
        fields = line.split(None, 4)
        # What others need, and nobody has installed, is none of the guest's services.
        if len(fields) >= 4 and fields[1] != "not-found":
            description = fields[4] if len(fields) > 4 else ""
            keys = ("unit", "loaded", "state", "detail", "description")
            units.append(dict(zip(keys, (*fields[:4], description))))
    return units


def _describe_list(units: list[dict[str, str]]) -> tuple[Any, str]:
    rows = [
        (each["unit"].removesuffix(_SUFFIX), each["state"], each["detail"], each["description"]) for each in units
    ]
    return units, titled_table(("service", "state", "detail", "description"), rows, "no services")


async def _status(guest: Guest, unit: str) -> dict[str, str]:
    from phoenix_ga.cli.systemd import check, run_systemctl

    completed = await run_systemctl(guest, "show", f"--property={','.join(_PROPERTIES)}", "--", unit)
    check(completed.returncode, completed.stderr.decode("utf-8", "backslashreplace"))
    lines = completed.stdout.decode("utf-8", "backslashreplace").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    if found.get("LoadState", "not-found") == "not-found":
        problem = GuestProblem(f"there is no unit {unit}")
        raise _with_status(problem, _UNKNOWN)
    return {key: found.get(name, "") for name, key in _PROPERTIES.items()}


def _with_status(problem: GuestProblem, status: int) -> GuestProblem:
    vars(problem)["status"] = status
    return problem


def _describe_unit(unit: dict[str, str]) -> tuple[Any, str]:
    shown = {**unit, "state": f"{unit['state']} ({unit['detail']})", "detail": ""}
    if unit["main process"] == "0":
        shown["main process"] = ""
    if unit["result"] == "success":
        shown["result"] = ""
    return unit, table([row for row in shown.items() if row[1]], indent="")


def _judge(unit: dict[str, str]) -> int:
    return 0 if unit["state"] in ("active", "reloading") else _INACTIVE
