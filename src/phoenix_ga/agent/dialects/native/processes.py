"""Commands that start and control programs."""

from __future__ import annotations

import os
from errno import EINVAL

from phoenix_ga.agent.protocol.call import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.context import Context
    from phoenix_ga.wire.messages import JsonText

# Of the list of processes, in bytes: several clients accept no answer that is much longer.
_LIST_MAX: Final = 4 * 1024 * 1024


def execute(
    context: Context,
    argv: list[str],
    env: dict[str, str],
    user: str,
    directory: str,
    terminal: bool,
    rows: int,
    columns: int,
    detach: bool,
    window: int,
) -> Opened:
    from phoenix_ga.agent.endpoints.process import Process
    from phoenix_ga.agent.endpoints.process_table import process_table
    from phoenix_ga.agent.operations.processes import spawn
    from phoenix_ga.agent.operations.program_groups import program_groups

    for name in env:
        if not name or "=" in name:
            raise OSError(EINVAL, f"{name!r} is not a valid name of an environment variable")
    table = process_table(context)
    if detach:
        table.make_room()
    with program_groups(context).open(kept=detach) as group:
        child = spawn(argv, env, user, directory, (rows, columns) if terminal else None, group.procs)
    process = Process(table, child, group, tuple(argv), user, detach)
    return Opened({"pid": process.pid, "window": process.main.window}, {**process.endpoints}, window)


def execute_attach(context: Context, pid: int, window: int) -> Opened:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process = process_table(context).attach(pid)
    answer = {"pid": pid, "argv": list(process.argv), "window": process.main.window}
    return Opened(answer, {**process.endpoints}, window)


def execute_list(context: Context) -> list[dict[str, Any]]:
    from phoenix_ga.agent.endpoints.process_table import process_table

    return [
        {
            "pid": process.pid,
            "argv": list(process.argv),
            "user": process.user,
            "started": process.started,
            "terminal": process.terminal,
            "detached": process.detached,
            "attached": process.attached,
            **(process.outcome or {}),
        }
        for process in process_table(context).all()
    ]


def execute_signal(context: Context, pid: int, signal: int) -> bool:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process_table(context).find(pid).signal(signal)
    return True


def execute_resize(context: Context, pid: int, rows: int, columns: int) -> bool:
    from phoenix_ga.agent.endpoints.process_table import process_table

    process_table(context).find(pid).resize(rows, columns)
    return True


def process_list(context: Context) -> JsonText:
    import time

    from phoenix_ga.agent.operations import running_processes, system
    from phoenix_ga.wire.json_text import encode_json
    from phoenix_ga.wire.messages import JsonText

    text = bytearray()
    omitted = 0
    for process in running_processes.running_processes(running_processes.boot_time()):
        encoded = encode_json(process)
        if len(text) + len(encoded) > _LIST_MAX:
            omitted += 1
        else:
            text += b", " if text else b""
            text += encoded
    rest = {
        "omitted": omitted,
        "time": time.time(),
        "ticks_per_second": os.sysconf("SC_CLK_TCK"),
        "memory": system.memory()["MemTotal"] * system.KIB,
    }
    return JsonText(b'{"processes": [', text, b"], ", encode_json(rest)[1:])
