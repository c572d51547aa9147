"""Freezing filesystems, and making sure that they are thawed."""
