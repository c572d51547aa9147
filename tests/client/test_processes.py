"""Programs in the guest, as its real agent runs them: whatever they do, nothing hangs and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from phoenix_ga.client import (
    CommandError,
    CompletedProcess,
    Guest,
    GuestTimeoutError,
    MockTransport,
    ProcessFailedError,
    ProtocolError,
    StreamError,
    connect,
)
from tests.client.conftest import Converse, Talk, converse_with_asyncio
from tests.support import AgentProcess, wait_for

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_a_program_runs_as_with_subprocess(talk: Talk, endpoint: str) -> None:
    completed = talk(endpoint, "run", shell("cat; echo oops >&2; exit 3"), input=b"hello")
    assert completed == CompletedProcess(tuple(shell("cat; echo oops >&2; exit 3")), 3, b"hello", b"oops\n")
    with pytest.raises(ProcessFailedError, match="sh ended with status 3"):
        completed.check_returncode()


@pytest.mark.parametrize(("script", "returncode"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9)])
def test_how_it_ended_is_told(talk: Talk, endpoint: str, script: str, returncode: int) -> None:
    assert talk(endpoint, "run", shell(script)).returncode == returncode


def test_a_failure_can_be_an_exception(talk: Talk, endpoint: str) -> None:
    with pytest.raises(ProcessFailedError, match="sh was ended by SIGKILL"):
        talk(endpoint, "run", shell("kill -9 $$"), check=True)


def test_much_goes_in_and_out_at_once(talk: Talk, endpoint: str) -> None:
    data = os.urandom(20_000_000)
    completed = talk(endpoint, "run", shell("tee /dev/stderr"), input=data)
    assert completed.stdout == data
    assert completed.stderr == data


def test_what_it_is_started_with(talk: Talk, endpoint: str, tmp_path: Path) -> None:
    script = 'echo "$0 $GREETING $HOME $USER $SHELL"; pwd; umask; cat /proc/self/oom_score_adj; tty'
    result = talk(endpoint, "run", shell(script), env={"GREETING": "hällo"}, cwd=str(tmp_path))
    home, user, login_shell = os.environ.get("HOME", "/root"), "root", "/bin/bash"
    lines = result.stdout.decode().splitlines()
    assert lines[1:] == [str(tmp_path), "0022", "0", "not a tty"]
    if os.geteuid() == 0:
        assert lines[0] == f"sh hällo {home} {user} {login_shell}"


@pytest.mark.root
def test_another_user_is_another_user_entirely(talk: Talk, endpoint: str) -> None:
    script = "id -u; id -g; id -G; echo $USER; grep CapEff /proc/self/status; kill -0 1 2>&1 || true"
    lines = talk(endpoint, "run", shell(script), user="nobody").stdout.decode().splitlines()
    assert lines[:4] == ["65534", "65534", "65534", "nobody"]
    assert lines[4].split() == ["CapEff:", "0000000000000000"]
    assert talk(endpoint, "run", shell("id -u"), user="65534").stdout == b"65534\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("4711", "4711 4711 4711"),
        ("4711:4712", "4711 4712 4712"),
        ("4711:daemon", "4711 1 1"),
        ("nobody:daemon", "65534 1 1"),
        (":daemon", "0 1 1"),
    ],
)
def test_users_and_groups_are_names_or_numbers(talk: Talk, endpoint: str, user: str, ids: str) -> None:
    script = 'echo $(id -u) $(id -g) $(id -G); touch "$0" && stat -c "%u %g" "$0"'
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        lines = talk(endpoint, "run", [*shell(script), f"{directory}/new"], user=user).stdout.decode().splitlines()
    assert lines == [ids, ids.rpartition(" ")[0]]


@pytest.mark.root
def test_a_user_without_an_entry_has_the_root_directory_as_home(talk: Talk, endpoint: str) -> None:
    found = talk(endpoint, "run", shell("echo $HOME $USER $SHELL; pwd"), user="4711").stdout
    assert found == b"/ 4711 /bin/sh\n/\n"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"argv": ["no-such-program"]}, FileNotFoundError, "no-such-program"),
        ({"argv": ["/etc/passwd"]}, PermissionError, "/etc/passwd"),
        ({"argv": ["true"], "user": "no-such-user"}, FileNotFoundError, "no user 'no-such-user'"),
        ({"argv": ["true"], "user": "4294967295"}, FileNotFoundError, "no user '4294967295'"),
        ({"argv": ["true"], "user": "root:no-such-group"}, OSError, "no group 'no-such-group'"),
        ({"argv": ["true"], "user": "root:"}, OSError, "no group ''"),
        ({"argv": ["true"], "cwd": "/no/such"}, FileNotFoundError, "/no/such"),
        ({"argv": ["true"], "env": {"A=B": "c"}}, OSError, "not a valid name of an environment variable"),
    ],
)
def test_what_cannot_be_started_says_why(
    talk: Talk, endpoint: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        talk(endpoint, "run", **options)
    assert isinstance(caught.value, CommandError)


def test_output_is_there_as_it_is_written(converse: Converse, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        async with guest.exec(["sh", "-c", "echo one; read x; echo two $x"]) as process:
            assert await process.stdout.read_chunk() == b"one\n"
            await process.stdin.write(b"three\n")
            assert await process.stdout.read_chunk() == b"two three\n"
            assert await process.wait() == 0

    converse(endpoint, conversation)


def test_a_terminal_has_a_size_and_job_control(converse: Converse, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        argv = shell("stty size; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.1; done")
        async with guest.exec(argv, terminal=True, rows=30, columns=100) as process:
            assert process.stderr is None
            seen = b""
            while b"ready" not in seen:
                seen += await process.stdout.read_chunk()
            await process.resize(50, 132)
            seen += await process.stdout.read_all()
            assert seen.split() == [b"30", b"100", b"ready", b"50", b"132"]
            assert process.returncode == 5

    converse(endpoint, conversation)


def test_a_control_character_ends_what_runs_in_a_terminal(converse: Converse, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        async with guest.exec(shell("echo ready; exec sleep 60"), terminal=True) as process:
            assert b"ready" in await process.stdout.read_chunk()
            await process.stdin.write(b"\x03")
            assert await process.wait() == -signal.SIGINT

    converse(endpoint, conversation)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_program_whose_client_leaves_can_clean_up(
    converse: Converse, endpoint: str, tmp_path: Path, terminal: bool
) -> None:
    # More than a pipe holds.
    clean_up = f"head -c 300000 /dev/zero; echo problem >&2; touch {tmp_path}/clean; exit"

    async def conversation(guest: Guest) -> None:
        argv = shell(f"trap '{clean_up}' TERM HUP; echo ready; while :; do sleep 0.1; done")
        async with guest.exec(argv, terminal=terminal) as process:
            assert b"ready" in await process.stdout.read_chunk()

    converse(endpoint, conversation)
    wait_for((tmp_path / "clean").exists)


def test_signals_reach_the_whole_group(converse: Converse, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        async with guest.exec(shell("sleep 60 | sleep 60; true")) as process:
            await asyncio.sleep(0.2)
            await process.terminate()
            assert await process.wait() == -signal.SIGTERM
            with pytest.raises(ProcessLookupError):
                await process.kill()

    converse(endpoint, conversation)


def test_only_what_was_started_here_can_be_signalled(talk: Talk, endpoint: str, agent: AgentProcess) -> None:
    with pytest.raises(ProcessLookupError):
        talk(endpoint, "processes.signal", agent.process.pid, signal.SIGTERM)


ODD_CHILDREN = {
    "never reads its stdin": "sleep 0.3",
    "closes its stdin": "exec 0<&-; sleep 0.3",
    "closes its stdout early": "exec 1>&-; sleep 0.3",
    "closes all": "exec 0<&- 1>&- 2>&-; sleep 0.3",
    "ends at once": "true",
}


@pytest.mark.parametrize("script", ODD_CHILDREN.values(), ids=ODD_CHILDREN.keys())
def test_a_child_that_takes_no_input_hangs_nobody(talk: Talk, endpoint: str, script: str) -> None:
    completed = talk(endpoint, "run", shell(script), input=bytes(3_000_000), options={"timeout": 10})
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, b"", b"")


def test_a_daemon_that_holds_the_pipes_hangs_nobody(talk: Talk, endpoint: str) -> None:
    start = time.monotonic()
    completed = talk(endpoint, "run", shell("setsid sleep 77 & echo started $!"))
    assert completed.stdout.startswith(b"started ")
    assert time.monotonic() - start < 30
    os.kill(int(completed.stdout.split()[1]), signal.SIGKILL)


def test_all_that_was_written_before_the_end_is_sent(talk: Talk, endpoint: str) -> None:
    script = "head -c 3000000 /dev/zero; head -c 60000 /dev/zero >&2; exit 9"
    completed = talk(endpoint, "run", shell(script))
    assert (len(completed.stdout), len(completed.stderr), completed.returncode) == (3_000_000, 60_000, 9)


def test_a_time_limit_ends_the_process(talk: Talk, endpoint: str) -> None:
    with pytest.raises(GuestTimeoutError, match="sleep did not end within"):
        talk(endpoint, "run", ["sleep", "60"], timeout=0.2)


def test_output_without_end_is_limited(talk: Talk, endpoint: str) -> None:
    with pytest.raises(StreamError, match="more than 1000000 bytes"):
        talk(endpoint, "run", ["cat", "/dev/zero"], limit=1_000_000)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_a_process_ends_with_its_client(
    converse: Converse, agent: AgentProcess, endpoint: str, how: str, terminal: bool
) -> None:
    async def conversation(guest: Guest) -> None:
        process = await guest.exec(shell("sleep 60 & sleep 60"), terminal=terminal)
        wait_for(lambda: bool(agent.children()))
        if how == "reset":
            await process.stdout.reset()
            await asyncio.sleep(0.5)
            assert await guest.ping()

    converse(endpoint, conversation)
    wait_for(lambda: not agent.children())


def test_a_process_ends_with_whoever_waits_for_it(agent: AgentProcess, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        process = await guest.exec(shell("sleep 60 & sleep 60"))
        wait_for(lambda: bool(agent.children()))
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0.1)
        waiting.cancel()

    converse_with_asyncio(endpoint, conversation)
    wait_for(lambda: not agent.children())


def test_one_that_does_not_want_to_end_is_made_to(converse: Converse, agent: AgentProcess, endpoint: str) -> None:
    async def conversation(guest: Guest) -> None:
        process = await guest.exec(shell("trap '' TERM HUP; echo ready; while :; do sleep 1; done"))
        assert await process.stdout.read_chunk() == b"ready\n"

    converse(endpoint, conversation)
    assert agent.children()
    wait_for(lambda: not agent.children())


def test_a_slow_reader_stops_its_own_stream_and_nothing_else(
    converse: Converse, agent: AgentProcess, endpoint: str
) -> None:
    async def conversation(guest: Guest) -> None:
        async with guest.exec(["cat", "/dev/zero"]) as endless:
            before = agent.memory()
            assert (await guest.run(["echo", "quick"])).stdout == b"quick\n"
            await asyncio.sleep(0.3)
            assert agent.memory() - before < 8 << 20
            assert len(await endless.stdout.read_chunk()) > 0

    converse(endpoint, conversation)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(120)])])
def test_endless_output_leaves_nothing_behind(
    converse: Converse, agent: AgentProcess, endpoint: str, seconds: float
) -> None:
    async def conversation(guest: Guest) -> None:
        await guest.run(["true"])
        before = agent.memory()
        received = 0
        async with guest.exec(["head", "-c", str(100 << 30), "/dev/zero"]) as process:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                received += len(await process.stdout.read_chunk())
        assert received > 10_000_000
        assert await guest.ping()
        assert agent.memory() - before < 2 << 20

    converse(endpoint, conversation)


@pytest.mark.parametrize("rounds", [200, pytest.param(10_000, marks=pytest.mark.soak)])
def test_many_short_programs_leave_nothing_behind(
    converse: Converse, agent: AgentProcess, endpoint: str, rounds: int
) -> None:
    async def conversation(guest: Guest) -> None:
        for _ in range(20):
            await guest.run(["true"])
        before = agent.memory()
        for _ in range(rounds):
            assert (await guest.run(["true"])).returncode == 0
        assert agent.memory() - before < 2 << 20

    converse(endpoint, conversation)


@pytest.mark.parametrize(
    "message", [{}, {"status": 256}, {"status": -1}, {"signal": 0}, {"status": "0"}, {"signal": 1.5}]
)
def test_a_guest_that_lies_about_the_end_is_found_out(message: dict[str, Any], tmp_path: Path) -> None:
    from phoenix_ga.wire.messages import Request, encode_return
    from phoenix_ga.wire.streams import Stream

    def answer(request: Request) -> bytes:
        opened = {"pid": 1, "window": 0, "stream": 3, "stderr": 4}
        ends = Stream(3, credit=0, window=0).end(message) + Stream(4, credit=0, window=0).end({})
        return b"".join(encode_return(opened, request.tag)) + ends

    async def conversation() -> None:
        async with connect(MockTransport({"exec": answer})) as guest:
            with pytest.raises(ProtocolError):
                await guest.run(["true"])

    asyncio.run(conversation())


def test_a_detached_program_goes_on_when_its_client_is_gone(endpoint: str, tmp_path: Path) -> None:
    argv = shell(f"echo one; echo problem >&2; until test -e {tmp_path}/go; do sleep 0.02; done; echo two; exit 7")

    async def conversation() -> None:
        async with connect(endpoint) as first:
            process = await first.exec(argv, detach=True, window=0)
        (tmp_path / "go").touch()
        async with connect(endpoint) as second:
            while (listed := (await second.processes.list())[0]).returncode is None:
                await asyncio.sleep(0.02)
            assert (listed.pid, listed.argv, listed.attached, listed.returncode) == (
                process.pid,
                tuple(argv),
                False,
                7,
            )
            again = await second.processes.attach(process.pid)
            completed = await again.communicate()
            assert (completed.stdout, completed.stderr, completed.returncode) == (b"one\ntwo\n", b"problem\n", 7)
            # Somebody was told.
            assert await second.processes.list() == ()
            with pytest.raises(ProcessLookupError):
                await second.processes.attach(process.pid)

    asyncio.run(conversation())


def test_input_and_output_of_a_detached_program_go_on_with_the_next_client(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as first:
            process = await first.exec(["cat"], detach=True)
            await process.stdin.write(b"from the first\n")
            assert await process.stdout.read_chunk() == b"from the first\n"
        async with connect(endpoint) as second:
            again = await second.processes.attach(process.pid)
            with pytest.raises(CommandError, match="a client is attached"):
                await second.processes.attach(process.pid)
            completed = await again.communicate(b"from the second\n")
            assert (completed.stdout, completed.returncode) == (b"from the second\n", 0)

    asyncio.run(conversation())


def test_what_nobody_reads_makes_a_detached_program_wait_and_is_not_lost(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as first:
            process = await first.exec(shell("head -c 3000000 /dev/zero; echo end"), detach=True, window=1000)
        async with connect(endpoint) as second:
            await asyncio.sleep(0.1)
            # Those of other tests may still be ending.
            (listed,) = (each for each in await second.processes.list() if each.pid == process.pid)
            assert listed.returncode is None
            completed = await (await second.processes.attach(process.pid)).communicate()
            # What the first client gave credit for may have gone to it.
            lost = 3_000_004 - len(completed.stdout)
            assert 0 <= lost <= 1000
            assert completed.stdout == bytes(3_000_000 - lost) + b"end\n"

    asyncio.run(conversation())


def test_a_detached_terminal_is_the_same_one_for_the_next_client(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as first:
            process = await first.exec(shell("tty; read line; echo got $line"), terminal=True, detach=True)
            name = await process.stdout.read_chunk()
            assert name.startswith(b"/dev/pts/")
            await process.stdout.reset()
            again = await first.processes.attach(process.pid)
            assert again.stderr is None
            await again.stdin.write(b"hello\n")
            assert (await again.stdout.read_all()).endswith(b"got hello\r\n")
            assert again.returncode == 0

    asyncio.run(conversation())


def test_a_detached_program_can_be_signalled_and_ends_with_its_group(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            process = await guest.exec(["sleep", "1000"], detach=True)
            await process.stdout.reset()
            await guest.processes.signal(process.pid, signal.SIGKILL)
            # Its error output ends a moment after it.
            while (found := (await guest.processes.list())[0]).returncode is None or found.attached:
                await asyncio.sleep(0.02)
            assert await (await guest.processes.attach(process.pid)).wait() == -signal.SIGKILL

    asyncio.run(conversation())


# A hundred rounds took minutes on a machine that does much else.
@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_detached_program_is_listed_at_any_moment_until_its_end_is_told(endpoint: str, rounds: int) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            for _ in range(rounds):
                process = await guest.exec(["sleep", "1000"], detach=True)
                await process.stdout.reset()
                await guest.processes.signal(process.pid, signal.SIGKILL)
                while (found := (await guest.processes.list())[0]).returncode is None or found.attached:
                    assert found.pid == process.pid
                assert await (await guest.processes.attach(process.pid)).wait() == -signal.SIGKILL
                assert not await guest.processes.list()

    asyncio.run(conversation())


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_detached_program_whose_end_was_told_is_forgotten(endpoint: str, rounds: int) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            for _ in range(rounds):
                process = await guest.exec(shell("read x; exit 3"), detach=True)
                await process.stdin.end()
                assert await process.wait() == 3
                with pytest.raises(ProcessLookupError):
                    await guest.processes.attach(process.pid)

    asyncio.run(conversation())


def test_the_number_of_detached_programs_is_limited(endpoint: str) -> None:
    async def conversation() -> None:
        async with connect(endpoint) as guest:
            pids = [(await guest.exec(["sleep", "1000"], detach=True)).pid for _ in range(64)]
            with pytest.raises(CommandError, match="64 processes are detached"):
                await guest.exec(["true"], detach=True)
            assert await guest.run(["true"])
            for pid in pids:
                await guest.processes.signal(pid, signal.SIGKILL)

    async def collect() -> None:
        async with connect(endpoint) as guest:
            for process in await guest.processes.list():
                assert await (await guest.processes.attach(process.pid)).wait() == -signal.SIGKILL

    asyncio.run(conversation())
    asyncio.run(collect())
