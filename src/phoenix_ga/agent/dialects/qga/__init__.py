"""The dialect of the QEMU Guest Agent: one handler for each command declared in `commands`."""
