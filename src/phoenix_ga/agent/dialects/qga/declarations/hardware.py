"""Commands about processors and memory."""

from __future__ import annotations

from phoenix_ga.agent.dialects.qga.schema import BOOLEAN, INTEGER, UNSIGNED, GuestCommand, ListOf, Parameter, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ONLINE: Final = (Parameter("online", BOOLEAN), Parameter("can-offline", BOOLEAN, optional=True))
_PROCESSOR: Final = Struct(Parameter("logical-id", INTEGER), *_ONLINE)
_MEMORY_BLOCK: Final = Struct(Parameter("phys-index", UNSIGNED), *_ONLINE)

COMMANDS: Final[tuple[GuestCommand, ...]] = (
    GuestCommand(
        "guest-get-vcpus",
        "hardware:guest_get_vcpus",
        "List the processors, and which are online.",
    ),
    GuestCommand(
        "guest-set-vcpus",
        "hardware:guest_set_vcpus",
        "Take processors on- or offline, up to the first that fails; return how many.",
        parameters=(Parameter("vcpus", ListOf(_PROCESSOR)),),
        changes=True,
    ),
    GuestCommand(
        "guest-get-memory-blocks",
        "hardware:guest_get_memory_blocks",
        "List the blocks of memory, and which are online.",
    ),
    GuestCommand(
        "guest-set-memory-blocks",
        "hardware:guest_set_memory_blocks",
        "Take blocks of memory on- or offline, and tell what became of each.",
        parameters=(Parameter("mem-blks", ListOf(_MEMORY_BLOCK)),),
        changes=True,
    ),
    GuestCommand(
        "guest-get-memory-block-info",
        "hardware:guest_get_memory_block_info",
        "Return the size of a memory block.",
    ),
    GuestCommand(
        "guest-get-cpustats",
        "hardware:guest_get_cpustats",
        "Return the time that each processor spent in each state, in milliseconds.",
    ),
)
