"""All options of the agent, each declared once: for the command line, the config file and the help text."""

from __future__ import annotations

from phoenix_ga.agent.options.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CONFIG_PATH: Final = "/etc/phoenix-ga.conf"
SECTION: Final = "general"
FREEZE_HOOKS: Final = "/etc/phoenix-ga/fsfreeze-hook.d"
DEFAULT_PORTS: Final = ("/dev/virtio-ports/org.guest-agent.0", "/dev/virtio-ports/org.qemu.guest_agent.0")

OPTIONS: Final = (
    Option(
        "port",
        DEFAULT_PORTS,
        "PORT",
        "Port to serve; may be given several times: the path of a virtio-serial port, unix:PATH (listens, for "
        "root and the agent's own user), vsock:PORT (listens, for the host) or tty:PATH. The agent waits for a "
        "missing device.",
        short="p",
        repeated=True,
    ),
    Option("log-file", "", "PATH", "Append the log to this file instead of writing it to standard error."),
    Option("debug", False, "", "Log each request."),
    Option(
        "allow",
        (),
        "NAMES",
        "Allow only these commands: names or patterns such as file-*, separated by commas.",
    ),
    Option("block", (), "NAMES", "Refuse these commands; takes precedence over allow."),
    Option("read-only", False, "", "Refuse every command that changes the guest."),
    Option("max-handles", 256, "COUNT", "Maximum number of files opened by file-open."),
    Option("max-commands", 1024, "COUNT", "Maximum number of commands in progress."),
    Option("max-streams", 1024, "COUNT", "Maximum number of open streams of one client."),
    Option("max-workers", 16, "COUNT", "Maximum number of blocking commands that run at once; others wait."),
    Option("max-clients", 64, "COUNT", "Maximum number of clients of each unix: or vsock: port."),
    Option("line-limit", 64 * 1024 * 1024, "BYTES", "Maximum length of a request.", minimum=1024),
    Option("listing-limit", 100_000, "COUNT", "Maximum number of entries that directory-list returns."),
    Option(
        "stop-timeout",
        10,
        "SECONDS",
        "Time limit for commands in progress when the agent stops.",
        minimum=0,
    ),
    Option(
        "park-after",
        60,
        "SECONDS",
        "Time without requests after which the agent parks: it gives up its memory until the next one; 0 for never.",
        minimum=0,
    ),
    Option(
        "auto-online",
        False,
        "",
        "Use CPUs and memory that are added to the running guest. The agent then does not park.",
    ),
    Option(
        "freeze-timeout",
        600,
        "SECONDS",
        "Default time after which frozen filesystems are thawed automatically; 0 for never.",
        minimum=0,
    ),
    Option(
        "freeze-hook",
        (FREEZE_HOOKS,),
        "PATH",
        "Program to run before filesystems are frozen and after they are thawed, or a directory of programs; may be "
        "given several times.",
        repeated=True,
    ),
    Option(
        "hook-timeout",
        60,
        "SECONDS",
        "Time limit for each run of a hook; 0 for none.",
        minimum=0,
    ),
    Option(
        "qga-version",
        "11.1.0",
        "VERSION",
        "QEMU Guest Agent version that guest-info reports to management software.",
    ),
    Option(
        "run-directory",
        "/run/phoenix-ga",
        "PATH",
        "Directory for state that survives a restart; must be on a tmpfs.",
    ),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}
