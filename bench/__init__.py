"""Measures the agent beside Debian's qemu-guest-agent and the bare port, in one guest and in one run."""
