"""Conditions that a client waits for, and the kernel descriptors that tell when to look at them."""
