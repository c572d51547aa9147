"""The guest lab: builds a Debian guest image once and boots virtual machines from it, for tests and benchmarks."""

from __future__ import annotations
