"""What both sides agree on: bytes in, units out; units in, bytes out. No sockets and no clock."""
