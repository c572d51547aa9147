"""The verbs of phoenixctl: each module defines the click command of one, called `command`."""
