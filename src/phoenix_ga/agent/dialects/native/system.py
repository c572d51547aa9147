"""The command that describes the system."""

from __future__ import annotations

from phoenix_ga.agent.operations import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_ga.agent.context import Context


def sysinfo(context: Context) -> dict[str, object]:
    one, five, fifteen = system.load_average()
    memory = system.memory()
    return {
        "uname": system.uname(),
        "long_bit": system.long_bit(),
        "uptime": system.uptime(),
        "loadavg": {"1m": one, "5m": five, "15m": fifteen},
        "ram": {"total": memory["MemTotal"], "free": memory["MemFree"], "buffer": memory["Buffers"]},
        "swap": {"total": memory["SwapTotal"], "free": memory["SwapFree"]},
        "users": [
            {"name": user.name, "device": user.device, "host": user.host, "login_time": int(user.login_time)}
            for user in system.users()
        ],
        "disks": [
            {
                "name": disk.path,
                "is_mounted": disk.point != "",
                "mountpoint": disk.point,
                "size_total": disk.total,
                "size_used": disk.used,
                "size_avail": disk.available,
            }
            for disk in system.disks()
        ],
    }
