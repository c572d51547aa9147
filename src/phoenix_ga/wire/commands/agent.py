"""Commands about the agent itself."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument, Command, Example

COMMANDS = (
    Command(
        "ping",
        "Check that the agent is alive.",
        handler="agent:ping",
        method="ping",
        result="str",
        returns="The agent's version, a string.",
        examples=(Example({}, "1.0.0", exact=False),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "sync",
        "Start a session on a port that may still hold data of an earlier client.\n\n"
        "The byte 0xFF, which no JSON text contains, precedes the answer: discard everything up to it. Answers to "
        "requests of earlier clients are no longer sent.",
        handler="agent:sync",
        arguments=(Argument("id", int, "Any number; a random one identifies this answer."),),
        returns="The given `id`.",
        examples=(Example({"id": 271828}, 271828),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "get-session",
        "Return the number of the client's session.\n\n"
        "A client that waits for a long time can ask for it, to see whether the agent still knows what the client "
        "waits for: all streams and requests of a session are lost if the agent restarts.",
        handler="agent:get_session",
        returns="The `id` of the last `sync`; a random number if the agent has not seen one in this session.",
        examples=(Example({}, 271828, exact=False),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "get-commands",
        "List the commands that the agent's policy allows.",
        handler="agent:get_commands",
        method="commands",
        result="tuple[str, ...]",
        returns="Sorted list of command names, including deprecated names.",
        examples=(Example({}, ["agent-shutdown", "directory-create"], exact=False),),
        while_frozen=True,
        inline=True,
    ),
    Command(
        "get-digests",
        "List the digests with which the guest can verify a transfer, and how fast it computes them. They are "
        "measured when a client first asks.",
        handler="agent:get_digests",
        returns="An object: the speed of each digest in MB/s, an integer, by its name: `crc32` and "
        "`sha256`, and `xxh64` if the kernel has it.",
        examples=(Example({}, {"xxh64": 3900, "crc32": 1100, "sha256": 400}, exact=False),),
        while_frozen=True,
    ),
    Command(
        "self-test",
        "Check what works in this guest: ports, rights, parking, whether each filesystem can be frozen, hooks, "
        "users, clock, SELinux, sandbox, log. Nothing is changed.",
        handler="agent:self_test",
        method="self_test",
        result="tuple[Check, ...]",
        returns="An array of objects: `name`; `state`: `ok`, `warning` for something that not every guest needs, or "
        "`failed`; and `text`, the details in plain words.",
        examples=(Example({}, [{"name": "clock", "state": "ok", "text": "there is a hardware clock"}], exact=False),),
    ),
    Command(
        "agent-shutdown",
        "Stop the agent. It finishes the running commands, for at most `stop-timeout` seconds, thaws frozen "
        "filesystems and exits with status 0; a service manager then starts it again.",
        handler="agent:agent_shutdown",
        method="shutdown_agent",
        result="None",
        examples=(Example({}, True),),
        changes=True,
        while_frozen=True,
        inline=True,
    ),
)
