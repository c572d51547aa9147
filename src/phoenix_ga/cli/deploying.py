"""The installation of the agent in a guest that does not have it yet: what runs there, and how it gets there."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from phoenix_ga.cli.errors import GuestProblem
from phoenix_ga.client.stock_agent import StockAgent

#: In memory: a guest that is reset meanwhile has nothing of it.
DIRECTORY: Final = "/run/phoenix-deploy"
ARCHIVE: Final = f"{DIRECTORY}/phoenix-ga.pyz"
_SCRIPT: Final = f"{DIRECTORY}/deploy"
_REPORT: Final = f"{DIRECTORY}/report"
CONFIRMED: Final = f"{DIRECTORY}/confirmed"
# The last line of the report, if the installation has failed.
_FAILED: Final = "status 1"
_REPORT_TIME: Final = 10.0
#: Seconds that the guest waits for the host, before it undoes everything.
CONFIRMATION_TIME: Final = 180

# Runs in a unit of its own, because qemu-ga, which starts it, is stopped. It keeps what it replaces until the host
# has reached the new agent.
_TEXT: Final = """\
#!/bin/sh
cd {directory} || exit 1
exec >report.part 2>&1
files='/usr/sbin/phoenix-ga /etc/systemd/system/phoenix-ga.service /usr/lib/phoenix-guest-agent/phoenix-wait'
mkdir kept
for file in $files; do
    [ ! -e "$file" ] || cp -p "$file" "kept/$(basename "$file")"
done
undo() {{
    if [ -z "$(ls kept)" ]; then
        [ ! -e /usr/sbin/phoenix-ga ] || /usr/sbin/phoenix-ga --uninstall
    else
        for file in $files; do
            [ ! -e "kept/$(basename "$file")" ] || cp -p "kept/$(basename "$file")" "$file"
        done
        systemctl daemon-reload
        systemctl restart phoenix-ga
    fi
    systemctl start qemu-guest-agent 2>/dev/null
}}
if ! python3 phoenix-ga.pyz --install {options}; then
    undo
    echo "{failed}" >>report.part
    mv report.part report
    exit 1
fi
cp report.part report
seconds=0
until [ {limit} = 0 ] || [ -e confirmed ]; do
    sleep 1
    seconds=$((seconds + 1))
    if [ "$seconds" -ge {limit} ]; then
        undo
        break
    fi
done
rm -rf {directory}
"""


class DeploymentError(GuestProblem):
    """The agent could not be installed. The guest is as it was."""


def script(options: Sequence[str], confirmed: bool) -> bytes:
    """Return the program that installs the agent in the guest.

    Args:
        options: for `phoenix-ga --install`.
        confirmed: the host will not confirm that it has reached the agent.
    """
    limit = 0 if confirmed else CONFIRMATION_TIME
    return _TEXT.format(directory=DIRECTORY, failed=_FAILED, options=shlex.join(options), limit=limit).encode()


async def deploy_by_qemu_ga(
    agent: StockAgent,
    archive: bytes,
    options: Sequence[str],
    confirmed: bool,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Begin to install the agent, by the file and exec commands of qemu-ga, which will be stopped.

    Args:
        options, confirmed: as for `script`.

    Raises:
        DeploymentError: it cannot be installed; the guest is as it was.
    """
    await agent.sync()
    await _run(agent, f"command -v python3 && rm -rf {DIRECTORY} && mkdir -m 700 {DIRECTORY}")
    try:
        await agent.write_file(ARCHIVE, archive, progress)
        await agent.write_file(_SCRIPT, script(options, confirmed), None)
        check = f"echo '{hashlib.sha256(archive).hexdigest()}  {ARCHIVE}' | sha256sum -c --quiet"
        start = f"systemd-run --collect --quiet --unit=phoenix-deploy /bin/sh {_SCRIPT}"
        await _run(agent, f"{check} && {start}")
    except BaseException:
        await _run(agent, f"rm -rf {DIRECTORY}")
        raise


async def check_not_failed(agent: StockAgent) -> None:
    """Return if the installation goes on.

    Raises:
        DeploymentError: it has failed; the guest is as it was.
    """
    await agent.sync()
    result = await agent.run(["/bin/cat", _REPORT], _REPORT_TIME)
    if result.status == 0 and result.output.endswith(_FAILED):
        await _run(agent, f"rm -rf {DIRECTORY}")
        raise DeploymentError(result.output.removesuffix(_FAILED).strip())


async def deploy_by_ssh(target: str, archive: bytes, options: Sequence[str]) -> None:
    """Install the agent over ssh. target: for ssh(1). Raises DeploymentError."""
    await _ssh(target, f"rm -rf {DIRECTORY} && mkdir -m 700 {DIRECTORY} && cat >{ARCHIVE}", archive)
    command = f"cat >{_SCRIPT} && sh {_SCRIPT} || {{ cat {DIRECTORY}/report; rm -rf {DIRECTORY}; exit 1; }}"
    await _ssh(target, command, script(options, True))


async def _ssh(target: str, command: str, data: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        "ssh", "--", target, command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(data)
    if process.returncode != 0:
        text = output.decode("utf-8", "replace").strip().removesuffix(_FAILED).strip()
        raise DeploymentError(f"ssh {target}: {text or f'exit status {process.returncode}'}")


async def _run(agent: StockAgent, command: str) -> None:
    result = await agent.run(["/bin/sh", "-c", command], 60.0)
    if result.status != 0:
        raise DeploymentError(f"{command}: exit status {result.status} {result.output}".strip())
