"""phoenix-qemu-ga: the agent behind the command line, the config file and the state of qemu-ga(8)."""
