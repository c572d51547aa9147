"""The verbs of phoenixctl: a file each, which defines the click command `command`."""
