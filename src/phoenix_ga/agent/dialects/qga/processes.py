"""Commands about programs."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.base64_text import decode_guest_base64
from phoenix_ga.agent.dialects.qga.exec_results import ExecResults
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.messages import NO_CODE, JsonText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def guest_exec(
    context: Context,
    path: str,
    arg: list[str] | None,
    env: list[str] | None,
    input_data: str | None,
    capture_output: bool | str | None,
) -> dict[str, Any]:
    from phoenix_ga.agent.operations.processes import spawn_bare
    from phoenix_ga.agent.operations.program_groups import program_groups

    data = b"" if input_data is None else decode_guest_base64(input_data)
    if not isinstance(capture_output, str):
        capture_output = "separated" if capture_output else "none"
    results = context.part(_make_results)
    try:
        results.check_limit()
        # It goes on if the agent is restarted: it has no client that could end with it.
        with program_groups(context).open(kept=True) as group:
            child = spawn_bare(
                _text(path),
                [_text(word) for word in arg or ()],
                None if env is None else [_text(variable) for variable in env],
                input_data is not None,
                capture_output,
                results.pids,
                group=group.procs,
            )
    except OSError as error:
        what = f"Failed to execute child process “{path}” ({error.strerror})"
        raise CommandError(f"Guest agent command failed, error was '{what}'", error.errno or NO_CODE) from None
    # Before the answer, so that guest-exec-status finds it.
    context.loop.call_from_thread(results.add, child, data)
    return {"pid": child.pid}


def guest_exec_status(context: Context, pid: int) -> JsonText | dict[str, Any]:
    results = context.part(_make_results)
    result = results.find(pid)
    if result is None:
        raise CommandError("Invalid parameter 'pid'", NO_CODE)
    if result.outcome is None:
        return {"exited": False}
    results.delivered(result)
    pieces: list[bytes | memoryview] = [
        b'{"exited": true, "%s": %d' % (result.outcome[0].encode(), result.outcome[1])
    ]
    for name, output in ((b"out", result.out), (b"err", result.error)):
        if output.size:
            pieces += [b', "%s-data": "' % name, *output.text(), b'"']
        if output.size or output.truncated:
            pieces.append(b', "%s-truncated": %s' % (name, b"true" if output.truncated else b"false"))
    return JsonText(*pieces, b"}")


def _make_results(context: Context) -> ExecResults:
    return ExecResults(context.loop)


def _text(text: str) -> str:
    # No argument can hold a NUL; as in QEMU, U+0000 becomes its two-byte form (modified UTF-8).
    return text.replace("\0", "\udcc0\udc80")
