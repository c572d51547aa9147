"""Benchmarks: Phoenix beside Debian's qemu-guest-agent and the bare port, or beside another checkout."""
