"""The text and the errno that error answers have for an exception."""

from __future__ import annotations

import errno
import os

from phoenix_ga.agent.core.log import ERR
from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.declaration import ArgumentError
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from phoenix_ga.agent.core.log import Log

OUT_OF_MEMORY: Final = "the agent ran out of memory"


def describe(error: Exception, log: Log) -> tuple[str, int]:
    """Return the text and the errno (or NO_CODE) for an error answer; unexpected errors are logged."""
    if isinstance(error, OSError):
        text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
        if error.filename is not None:
            text = f"{_path_text(error.filename)}: {text}"
        return text, error.errno or NO_CODE
    if isinstance(error, CommandError):
        return str(error), error.code
    if isinstance(error, ArgumentError):
        return str(error), errno.EINVAL
    if isinstance(error, UnicodeEncodeError):
        return "text holds a lone surrogate that stands for no byte", errno.EILSEQ
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY, errno.ENOMEM
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    text = f"internal error: {type(error).__name__}: {error}"
    log.write(ERR, f"{text} at {where}")
    return text, NO_CODE


def _path_text(path: str | bytes | int) -> str:
    return path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)
