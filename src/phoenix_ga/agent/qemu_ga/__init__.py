"""phoenix-qemu-ga: the agent with the command line, config file and state files of qemu-ga(8)."""
