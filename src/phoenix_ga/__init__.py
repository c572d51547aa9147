"""Phoenix guest agent: a daemon inside a Linux virtual machine, and the host's side of it."""

__version__ = "1.0.0.dev0"
