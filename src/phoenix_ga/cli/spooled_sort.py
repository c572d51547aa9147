"""Sorting more than should be in memory."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Iterator
from errno import E2BIG
from typing import IO, Any, Final

# Characters that are sorted in memory, and how many records are read back at a time.
_RUN: Final = 4 * 1024 * 1024
_BLOCK: Final = 500
# Characters in all: a guest must not fill the host's disk.
_SIZE_MAX: Final = 1024 * 1024 * 1024

# Rank, name, whether it is a directory, and text. Records are ordered by these in turn.
Record = tuple[int, str, bool, str]


class SpooledSort:
    """Sorts records; those that exceed a few megabytes are in a temporary file, which has no name.

    Raises:
        OSError: from `add`: E2BIG if there are too many, or the file cannot be written.
    """

    def __init__(self, reverse: bool) -> None:
        self._reverse = reverse
        self._records: list[Record] = []
        self._size = 0
        self._total = 0
        self._file: IO[bytes] | None = None
        # Where each sorted run begins and ends in the file.
        self._runs: list[tuple[int, int]] = []

    def __enter__(self) -> SpooledSort:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, record: Record) -> None:
        """Add a record."""
        self._records.append(record)
        self._size += len(record[1]) + len(record[3])
        if self._size >= _RUN:
            self._spool()

    def __iter__(self) -> Iterator[Record]:
        """Return all records in order."""
        self._records.sort(reverse=self._reverse)
        runs: list[Any] = [self._read(start, end) for start, end in self._runs]
        return heapq.merge(*runs, self._records, reverse=self._reverse)

    def _spool(self) -> None:
        self._total += self._size
        if self._total > _SIZE_MAX:
            raise OSError(E2BIG, "too many entries to sort; use -U")
        self._records.sort(reverse=self._reverse)
        if self._file is None:
            self._file = tempfile.TemporaryFile()
        start = self._file.tell()
        for first in range(0, len(self._records), _BLOCK):
            pickle.dump(self._records[first : first + _BLOCK], self._file)
        self._runs.append((start, self._file.tell()))
        self._records = []
        self._size = 0

    def _read(self, start: int, end: int) -> Iterator[Record]:
        assert self._file is not None
        while start < end:
            self._file.seek(start)
            records: list[Record] = pickle.load(self._file)
            start = self._file.tell()
            yield from records
