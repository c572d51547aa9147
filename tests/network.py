"""Network namespaces, in which tests change what they like, and iproute2 for a second opinion."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def ip(*arguments: str) -> str:
    """Run iproute2 and return what it says."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def ip_json(*arguments: str) -> Any:
    return json.loads(ip("-json", "-details", *arguments) or "[]")


def ip_batch(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], check=True, input="\n".join(lines), text=True, capture_output=True)


@contextmanager
def new_namespace() -> Iterator[None]:
    """Spend some time in a new network namespace, and start programs in it. It has a loopback interface alone."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.unshare(CLONE_NEWNET))
    try:
        yield
    finally:
        _check(_libc.setns(before, CLONE_NEWNET))
        os.close(before)
