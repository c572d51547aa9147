"""What phoenixctl can help with: jobs, each with its verbs, and what all verbs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Job:
    """Verbs for one kind of work.

    Attributes:
        name: for `phoenixctl help NAME`.
        title: heading in the list of verbs.
        text: what they do.
        verbs: in the order of their use.
    """

    name: str
    title: str
    text: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """What applies to all verbs. text: as click formats it."""

    name: str
    title: str
    text: str


JOBS: Final = (
    Job(
        "watch",
        "Find and watch guests",
        "List the guests of this host, ask how they are, and wait until they are ready. Most of these take several "
        "guests.",
        ("guests", "info", "ping", "doctor", "check", "wait", "events", "metrics", "top", "exporter"),
    ),
    Job(
        "programs",
        "Run programs",
        "Run a program or a shell in the guest, and see what runs there. Programs can outlive phoenixctl.",
        ("exec", "shell", "attach", "processes", "ps", "kill", "services", "journal"),
    ),
    Job(
        "files",
        "Work with files",
        "Copy files both ways, edit and search them, or mount a directory of the guest. Paths are GUEST:/PATH, and "
        "may have wildcards.",
        (
            *("cp", "edit", "cat", "tail", "tee", "ls", "stat", "find", "du", "rm", "mv", "ln", "mkdir", "touch"),
            *("truncate", "chmod", "chown", "md5sum", "sha256sum", "mount", "umount", "sftp"),
        ),
    ),
    Job(
        "network",
        "Reach and set up the network",
        "Set addresses and routes, see which ports are open, and reach them from this host, also without a network.",
        ("ip", "ports", "forward", "proxy", "ssh-config"),
    ),
    Job(
        "system",
        "Look after the system",
        "Show and change what the guest is made of: disks, memory, CPUs, users, the clock.",
        ("df", "disks", "grow", "trim", "memory", "cpus", "users", "passwd", "keys", "time", "hostname"),
    ),
    Job(
        "backup",
        "Freeze and snapshot",
        "Keep filesystems still while they are copied. `frozen` and `snapshot` also tell whether that was so all the "
        "time.",
        ("frozen", "snapshot", "freeze", "thaw", "freeze-status"),
    ),
    Job(
        "power",
        "Turn off and on",
        "Ask the operating system of the guest to stop, to start again or to sleep.",
        ("shutdown", "reboot", "suspend"),
    ),
    Job(
        "agent",
        "Set up and talk to the agent",
        "Install the agent, share its port, and use its protocol directly.",
        ("deploy", "cloud-init", "agent-iso", "hub", "commands", "raw", "stdio", "completion", "help"),
    ),
)

NOTES: Final = (
    Note(
        "guest",
        "How to name a guest, and a file in it",
        """\b
GUEST is one of:
  NAME              a guest that `phoenixctl guests` lists
  unix:PATH         the Unix socket of the guest's port
  PATH              the same; PATH must contain a slash
  vsock:CID[:PORT]  an agent that listens on vsock; the default port is 8383
  pty:PATH          the pseudo-terminal of the guest's port
  tcp:HOST:PORT     TCP; requires --allow-tcp
  HOST/NAME         a guest of another host, which the configuration names
  ssh:HOST/NAME     the same for any host; HOST is [USER@]HOST[:PORT]
  exec:COMMAND      a program whose stdin and stdout are the port
GUEST:/PATH is a file in the guest; the path must be absolute.
""",
    ),
    Note(
        "several",
        "Several guests at once",
        """\b
Most verbs accept several guests and prefix each line of output with the guest's name:
  A,B               a list
  'web*'            a pattern; quote it, or the shell expands it to file names
  @GROUP            a group of the configuration
""",
    ),
    Note(
        "exit-status",
        "The exit status",
        """\b
Exit status:
  0          success
  1          the guest refused, a local file failed, or a directory was copied only in part
  2          usage error
  123        frozen, thaw --generation: the filesystems did not stay frozen
  124        no answer within the time limit
  125        no connection, connection lost, or protocol violation
  126, 127   exec: the program cannot be executed, or was not found
  129, 143   SIGHUP or SIGTERM ended phoenixctl
  130        interrupted by Ctrl-C, or disconnected with ~.
  any        exec, shell, attach, frozen: the exit status of the program; 128+N if signal N ended it
With several guests, the exit status is the highest of all.
""",
    ),
    Note(
        "json",
        "Output for programs",
        """\b
With --json, an error is a JSON object on stderr; that of one of several guests, on stdout:
  {"guest": NAME, "error": {"text": TEXT, "status": EXIT STATUS}}
""",
    ),
)

EXAMPLES: Final = """\b
Examples:
  $ phoenixctl guests
  $ phoenixctl shell web1
  $ phoenixctl cp site.conf web1:/etc/nginx/
  $ phoenixctl ping -c 1 unix:/run/web1.sock
"""

MORE: Final = """`phoenixctl VERB --help` describes a verb and ends with examples. `phoenixctl help topics` lists what
else there is help for."""
