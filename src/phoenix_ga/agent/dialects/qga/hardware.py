"""Commands about processors and memory."""

from __future__ import annotations

from errno import ENOENT

from phoenix_ga.agent.operations import processors
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from phoenix_ga.agent.context import Context


def guest_get_vcpus(context: Context) -> list[dict[str, Any]]:
    return [
        {"logical-id": part.number, "online": part.online, "can-offline": part.removable}
        for part in processors.processors()
    ]


def guest_set_vcpus(context: Context, vcpus: list[dict[str, Any]]) -> int:
    """Put processors in and out up to the first that fails; return how many were."""
    for done, asked in enumerate(vcpus):
        try:
            processors.set_processor(asked["logical-id"], asked["online"])
        except OSError as error:
            if done:
                return done
            raise CommandError(error.strerror or str(error), NO_CODE) from None
    return len(vcpus)


def guest_get_memory_blocks(context: Context) -> list[dict[str, Any]]:
    return [
        {"phys-index": part.number, "online": part.online, "can-offline": part.removable}
        for part in processors.memory_blocks()
    ]


def guest_set_memory_blocks(context: Context, mem_blks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_set_memory_block(asked["phys-index"], asked["online"]) for asked in mem_blks]


def _set_memory_block(number: int, online: bool) -> dict[str, Any]:
    if not processors.has_memory_block(number):
        return {"phys-index": number, "response": "not-found", "error-code": ENOENT}
    try:
        processors.set_memory_block(number, online)
    except OSError as error:
        unsupported = isinstance(error, FileNotFoundError)
        response = "operation-not-supported" if unsupported else "operation-failed"
        return {"phys-index": number, "response": response, "error-code": error.errno}
    return {"phys-index": number, "response": "success"}


def guest_get_memory_block_info(context: Context) -> dict[str, int]:
    return {"size": processors.memory_block_size()}


def guest_get_cpustats(context: Context) -> list[dict[str, Any]]:
    return [{"type": "linux", **times} for times in processors.processor_statistics()]
