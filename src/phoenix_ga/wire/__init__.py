"""The protocol, for both sides, without sockets, clock and threads."""
