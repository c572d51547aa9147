"""The agent's options: on the command line and in the config file."""
