"""phoenixctl, the command line over `phoenix_ga.client`."""
